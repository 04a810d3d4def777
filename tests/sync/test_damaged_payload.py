"""An entry whose payload is damaged holds its own stream, says so, and can be given up."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from hokusai_core import ExperimentManager, Settings
from hokusai_core.queue import SyncQueue
from hokusai_core.testing import MockBackend


def damage(path: Path, op_id: str) -> None:
    """Cut a payload in half, behind the kind and the schema version."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE operations SET payload = substr(payload, 1, 150) WHERE op_id = ?", (op_id,)
        )


def test_a_damaged_batch_is_told_and_holds_nobody_else(tmp_path: Path) -> None:
    mock = MockBackend()
    settings = Settings.load(
        data_dir=tmp_path, fallback="sql", delivery="queued", auto_sync=False, exit_timeout=0.0
    )
    manager = ExperimentManager("damaged", backend=mock, settings=settings)
    runs = []
    for name in ("first", "second"):
        with manager.start_run(run_name=name) as run:
            for step in range(3):
                run.log_metric("loss", step / 7, step=step)
        runs.append(run)
    entries = manager.runtime.run_entries(runs[0].run_id, kinds=("log_batch",))
    damaged = entries[1].op_id
    damage(tmp_path / "hokusai.db", damaged)

    report = manager.runtime.drain().run(wait_seconds=0.0, stop=threading.Event())
    (reason,) = report.reasons.values()
    assert f"The payload of {damaged} is damaged" in reason
    assert f"hokusai queue discard {damaged}" in reason
    assert manager.get_run(runs[1].run_id).info.status == "FINISHED"
    assert steps(manager, runs[1].run_id) == [0, 1, 2]

    queue = SyncQueue(settings, backend=mock)
    assert queue.show(damaged).payload is None
    assert queue.discard((damaged,)) == 1
    clock_goes_on(tmp_path / "hokusai.db")
    assert manager.runtime.drain().run(wait_seconds=5.0, stop=threading.Event()).complete
    assert steps(manager, runs[0].run_id) == [0, 2]
    assert manager.get_run(runs[0].run_id).info.status == "FINISHED"
    manager.runtime.close_connections()


def steps(manager: ExperimentManager, run_id: str) -> list[int]:
    return [one.step for one in manager.get_metric_history(run_id, "loss")]


def clock_goes_on(path: Path) -> None:
    """Let the stream be due: it is looked at again in a minute."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE streams SET ready_at = ready_at - 120")
