"""A disk that is full: the call raises and says why, nothing is half written, and life goes on."""

import json

import pytest

from tests.acceptance import programs
from tests.support.ports import free_port

FULL = """
    import json, os, resource, signal
    from pathlib import Path
    from hokusai_core import ExperimentManager, NotStoredError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    manager = ExperimentManager("disk full")
    run = manager.start_run()
    run.log_metric("before", 1.0)
    folder = Path(os.environ["HOKUSAI_DATA_DIR"])
    largest = max(file.stat().st_size for file in folder.iterdir())
    no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow any more, as on a disk without a free block.
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 65536, no_limit[1]))
    causes = []
    try:
        run.log_text("x" * 3_000_000, "large.txt")
    except NotStoredError as failure:
        causes = [type(cause).__name__ for cause in failure.causes]
        message = str(failure)
    resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
    for _ in range(100):
        try:
            run.log_metric("after", 2.0)
            break
        except NotStoredError:
            import time; time.sleep(0.1)
    run.log_text("small", "small.txt")
    run.end()
    seen = manager.get_run(run.run_id)
    print(json.dumps({
        "causes": causes,
        "message": message,
        "metrics": seen.data.metrics,
        "files": [entry.path for entry in run.list_artifacts()],
    }))
"""


def test_a_full_disk_is_told_with_all_reasons_and_leaves_the_journal_sound() -> None:
    done = programs.run(
        FULL,
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}",
        HOKUSAI_CIRCUIT_OPEN_SECONDS=0.1,
        HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS=0.3,
        HOKUSAI_EXIT_TIMEOUT=0.1,
        HOKUSAI_AUTO_SYNC="false",
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["causes"]) == 2, "the primary's reason and the journal's"
    assert told["causes"][1] == "JournalUnavailableError"
    assert "kept nowhere" in told["message"]
    assert told["metrics"] == {"before": 1.0, "after": 2.0}
    assert told["files"] == ["small.txt"]


FULL_WHILE_QUEUED = """
    import json, resource, signal, sys, time
    from hokusai_core import ExperimentManager, NotStoredError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    manager = ExperimentManager("disk full", delivery="queued", durability=sys.argv[1])
    run = manager.start_run()
    run.log_metric("loss", 0.0, step=0)
    run.get()
    no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, no_limit[1]))
    kept, message = [0], ""
    for step in range(1, 100_000):
        try:
            run.log_metric("loss", step / 7, step=step)
            kept.append(step)
        except NotStoredError as failure:
            message = str(failure)
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
    for step in (100_000, 100_001):
        run.log_metric("loss", step / 7, step=step)
        kept.append(step)
    history = manager.get_metric_history(run.run_id, "loss")
    print(json.dumps({"message": message, "kept": kept, "found": [one.step for one in history]}))
"""


@pytest.mark.parametrize("durability", ["process", "relaxed"])
def test_what_was_accepted_before_the_disk_was_full_is_kept(durability: str) -> None:
    done = programs.run(
        FULL_WHILE_QUEUED,
        durability,
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}",
        HOKUSAI_EXIT_TIMEOUT=0.1,
        HOKUSAI_AUTO_SYNC="false",
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["message"], "the full disk was told"
    assert len(told["kept"]) > 3
    assert told["found"] == told["kept"]
