"""Another process holds the lock of the journal's file: what each call says, and that nothing goes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, NotDeliveredError, NotStoredError, Settings
from hokusai_core.settings import Durability
from hokusai_core.testing import MockBackend


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / "hokusai.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def make(mock: MockBackend, folder: Path, durability: Durability) -> ExperimentManager:
    settings = Settings.load(
        data_dir=folder,
        fallback="sql",
        auto_sync=False,
        delivery="queued",
        journal_timeout=0.1,
        exit_timeout=0.0,
    )
    return ExperimentManager("locked", backend=mock, settings=settings, durability=durability)


@pytest.mark.parametrize("durability", ["process", "relaxed"])
def test_what_comes_after_metrics_is_refused_and_said_to_be_and_the_metrics_are_kept(
    durability: Durability, tmp_path: Path
) -> None:
    manager = make(MockBackend(), tmp_path, durability)
    run = manager.start_run()
    with locked(tmp_path):
        run.log_metric("loss", 0.5, step=1)
        with pytest.raises(NotStoredError, match="metrics that were logged before it come first"):
            run.log_param("learning_rate", 0.1)
        assert run.sync_state == "pending"
        with pytest.raises(NotDeliveredError):
            run.wait(0.01)
    run.log_param("learning_rate", 0.1)
    data = manager.get_run(run.run_id).data
    assert (data.metrics, data.params) == ({"loss": 0.5}, {"learning_rate": "0.1"})


def test_at_its_end_each_buffer_speaks_of_its_own_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mock = MockBackend()
    filed, idle = make(mock, tmp_path, "process"), make(mock, tmp_path, "machine")
    run = filed.start_run()
    idle.start_run()
    with locked(tmp_path):
        run.log_metric("loss", 0.5)
        for manager in (filed, idle):
            manager.runtime.points.flush_at_the_end()
    assert caplog.text.count("Metrics could not be appended to the journal. They stay in") == 1
    assert "are lost" not in caplog.text
    assert filed.get_run(run.run_id).data.metrics == {"loss": 0.5}
