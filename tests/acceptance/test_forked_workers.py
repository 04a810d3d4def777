"""Children of ``multiprocessing`` end without ``atexit``: what they logged is kept all the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance import programs

_PROGRAM = """
import json, multiprocessing, sys
from pathlib import Path
from hokusai_core import ExperimentManager, Settings
from hokusai_core.journal import EntryQuery

method, durability, folder = sys.argv[1:]

def manager():
    settings = Settings.load(data_dir=Path(folder), fallback="sql", delivery="queued",
        durability=durability, auto_sync=False, exit_timeout=0.0)
    return ExperimentManager("workers", mlflow_tracking_uri="http://127.0.0.1:9", settings=settings)

def train(worker, run_id):
    run = manager().start_run(run_id=run_id)
    for step in range(5):
        run.log_metric(f"loss {worker}", 0.5, step=step)
    # Nothing else is written, which would flush.

if __name__ == "__main__":
    run = manager().start_run()
    run.log_metric("loss", 0.5)
    context = multiprocessing.get_context(method)
    children = [context.Process(target=train, args=(number, run.run_id)) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children], flush=True)
    steps = {}
    for entry in manager().runtime.fallback.read(EntryQuery(kinds=("log_batch",))):
        for point in entry.operation.metrics:
            steps.setdefault(point.key, []).append(point.step)
    print(json.dumps(steps))
"""


@pytest.mark.parametrize("durability", ["process", "relaxed"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_a_child_logged_is_in_the_journal(
    method: str, durability: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), method, durability, str(tmp_path / "data")],
        env=programs.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes, steps = done.stdout.splitlines()[-2:]
    assert codes == "[0, 0]", done.stderr
    found = {key: sorted(numbers) for key, numbers in json.loads(steps).items()}
    assert found == {"loss": [0]} | {f"loss {worker}": [0, 1, 2, 3, 4] for worker in range(2)}
