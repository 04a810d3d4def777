"""A drain over a journal that is busy for a while, and over one that stays so."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, JournalUnavailableError, Settings
from hokusai_core.left_points import read_points
from hokusai_core.process_hooks import end_of_process
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for

SECONDS = 0.3
"""How long a call waits for the journal."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ExperimentManager]:
    settings = Settings.load(
        data_dir=tmp_path,
        fallback="sql",
        delivery="queued",
        auto_sync=False,
        exit_timeout=0.0,
        journal_timeout=SECONDS,
    )
    manager = ExperimentManager("busy", backend=MockBackend(), settings=settings)
    with manager.start_run() as run:
        run.log_metric("loss", 0.5)
    yield manager
    manager.runtime.close_connections()


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[None]:
    """Hold the write lock of the journal's file, as another process may."""
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(folder / "hokusai.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            held.set()
            end.wait(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_a_journal_that_is_busy_for_a_while_is_asked_again(
    manager: ExperimentManager, tmp_path: Path
) -> None:
    with locked(tmp_path, SECONDS * 1.5):
        report = manager.runtime.drain().run(wait_seconds=30, stop=threading.Event())
    assert report.complete
    assert manager.runtime.waiting() == 0


def test_a_journal_that_stays_busy_ends_the_drain(
    manager: ExperimentManager, tmp_path: Path
) -> None:
    began = time.monotonic()
    with locked(tmp_path, 60.0), pytest.raises(JournalUnavailableError, match="locked"):
        manager.runtime.drain().run(wait_seconds=30, stop=threading.Event())
    assert time.monotonic() - began < 30.0, "waited for the lock, which was held for a minute"
    assert manager.runtime.drain().run(wait_seconds=30, stop=threading.Event()).complete


def test_metrics_that_no_journal_takes_end_nothing_early_and_are_kept_in_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.load(
        data_dir=tmp_path,
        fallback="sql",
        delivery="queued",
        durability="relaxed",
        exit_timeout=0.5,
        journal_timeout=0.1,
    )
    manager = ExperimentManager("busy", backend=MockBackend(), settings=settings)
    runtime = manager.runtime
    run = manager.start_run()
    assert wait_for(lambda: runtime.waiting() == 0)
    with locked(tmp_path, 60.0):
        run.log_metric("loss", 0.5)
        assert runtime.waiting() is None
        runtime.drainer.wake(at_once=True)
        end_of_process([runtime])
        assert not runtime.drainer.running
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not [text for text in told if "defect" in text]
    assert [text for text in told if "They stay in" in text]
    (path,) = (tmp_path / "hokusai.db-points").iterdir()
    _, left = read_points(path.read_bytes())
    assert [values for ((_, values, _, _),) in left.values()] == [(0.5,)]
    assert runtime.drain().run(wait_seconds=30, stop=threading.Event()).complete
    history = manager.get_metric_history(run.run_id, "loss")
    assert [point.value for point in history] == [0.5], "from memory and file, but once"
    runtime.close_connections()
