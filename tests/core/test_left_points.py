"""What processes that have ended left in files beside the journal reaches the primary, once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, NotStoredError, Settings
from hokusai_core.packed_points import Points
from hokusai_core.points_file import SUFFIX, PointsFile, files_can_be_locked
from hokusai_core.queue import SyncQueue
from hokusai_core.testing import MockBackend

pytestmark = pytest.mark.skipif(not files_can_be_locked(), reason="needs flock")

Make = Callable[..., ExperimentManager]


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def make(mock: MockBackend, tmp_path: Path) -> Iterator[Make]:
    made: list[ExperimentManager] = []

    def make(**values: object) -> ExperimentManager:
        known = {"data_dir": tmp_path, "fallback": "sql", "auto_sync": False, "exit_timeout": 0.0}
        settings = Settings.load(**known | values)
        made.append(ExperimentManager("left", backend=mock, settings=settings))
        return made[-1]

    yield make
    for manager in made:
        manager.runtime.close_connections()


def folder(tmp_path: Path) -> Path:
    return tmp_path / "hokusai.db-points"


def waiting(manager: ExperimentManager) -> dict[str, int]:
    """Count what waits, for each primary."""
    assert manager.runtime.fallback is not None
    figures, _ = manager.runtime.fallback.backlog("")
    assert figures is not None
    return {name: count for name, count in figures.by_destination.items() if count}


def leave(tmp_path: Path, destination: str, run_id: str, *points: Points) -> None:
    """Write a file, and end without a word, as a process that is killed does."""
    child = os.fork()
    if child == 0:
        file = PointsFile(folder(tmp_path), destination)
        for one in points:
            file.append(run_id, one)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(folder(tmp_path).glob(f"*{SUFFIX}"))


def test_a_read_a_count_and_a_sync_find_what_was_left(
    make: Make, mock: MockBackend, tmp_path: Path
) -> None:
    manager = make(delivery="queued", durability="process")
    run = manager.start_run()
    destination = manager.runtime.destination
    for step, look in enumerate(
        (
            run.get,
            manager.runtime.waiting,
            lambda: SyncQueue(manager.config.settings, backend=mock).entries(("dead",)),
            lambda: manager.runtime.drain().run(wait_seconds=5, stop=threading.Event()),
        )
    ):
        leave(tmp_path, destination, run.run_id, (("loss",), (step / 7,), 1000 + step, step))
        look()
        assert not list(folder(tmp_path).iterdir())
    history = manager.get_metric_history(run.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(n, n / 7) for n in range(4)]
    assert manager.runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete


def test_what_is_left_again_is_the_same_point(make: Make, tmp_path: Path) -> None:
    """A process that is killed before it could empty its file has appended the points already."""
    manager = make(delivery="queued", durability="process")
    run = manager.start_run()
    point: Points = (("loss", "accuracy"), (0.5, 0.9), 1000, 1)
    for _ in range(2):
        leave(tmp_path, manager.runtime.destination, run.run_id, point, point)
        manager.runtime.waiting()
    assert manager.runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete
    assert len(manager.get_metric_history(run.run_id, "loss")) == 1
    leave(tmp_path, manager.runtime.destination, run.run_id, point)
    assert manager.runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete
    assert len(manager.get_metric_history(run.run_id, "loss")) == 1


def test_points_of_a_run_that_was_delivered_go_to_its_one_stream(
    make: Make, tmp_path: Path
) -> None:
    """The process that was killed may have known the run by the primary's id only."""
    manager = make(delivery="queued", durability="process")
    run = manager.start_run()
    assert manager.runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete
    primary_id = run.primary_id
    assert primary_id is not None
    leave(tmp_path, manager.runtime.destination, primary_id, (("loss",), (0.5,), 1000, 1))
    manager.runtime.points.gather()
    (entry,) = manager.runtime.run_entries(run.run_id, kinds=("log_batch",))
    assert entry.stream == f"run/{run.run_id}"


def test_points_for_another_server_wait_for_it(make: Make, tmp_path: Path) -> None:
    manager = make()
    manager.start_run()
    leave(tmp_path, "another server", "0" * 32, (("loss",), (0.5,), 1000, 1))
    assert waiting(manager) == {"another server": 1}


def test_a_file_in_use_is_left_alone(make: Make, tmp_path: Path) -> None:
    manager = make()
    manager.start_run()
    file = PointsFile(folder(tmp_path), manager.runtime.destination)
    file.append("0" * 32, (("loss",), (0.5,), 1000, 1))
    try:
        assert waiting(manager) == {}
        assert len(list(folder(tmp_path).iterdir())) == 1
        child = os.fork()
        if child == 0:
            # A child that lets go of what is its parent's, as Hokusai's own do.
            file.abandon()
            os._exit(0)
        os.waitpid(child, 0)
        assert waiting(manager) == {}
    finally:
        file.close()
    assert waiting(manager) == {manager.runtime.destination: 1}


def test_who_saw_a_process_die_waits_until_its_files_are_closed(make: Make, tmp_path: Path) -> None:
    manager = make()
    manager.start_run()
    file = PointsFile(folder(tmp_path), manager.runtime.destination)
    file.append("0" * 32, (("loss",), (0.5,), 1000, 1))
    points = manager.runtime.points
    waiter = threading.Thread(target=points.gather_from, args=(os.getpid(), 60.0))
    waiter.start()
    try:
        waiter.join(0.1)
        assert waiter.is_alive(), "the file is still held"
    finally:
        file.close()
        waiter.join()
    assert list(folder(tmp_path).iterdir()) == []
    assert waiting(manager) == {manager.runtime.destination: 1}


def test_nobody_waits_for_ever_for_a_file_or_for_that_of_another_process(
    make: Make, tmp_path: Path
) -> None:
    manager = make()
    manager.start_run()
    file = PointsFile(folder(tmp_path), manager.runtime.destination)
    file.append("0" * 32, (("loss",), (0.5,), 1000, 1))
    try:
        manager.runtime.points.gather_from(os.getpid(), timeout=0.05)
        manager.runtime.points.gather_from(os.getpid() + 1, timeout=3600.0)
        assert waiting(manager) == {}
    finally:
        file.close()


def test_what_this_release_cannot_read_is_told_and_kept(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make()
    manager.start_run()
    folder(tmp_path).mkdir()
    path = folder(tmp_path) / f"later{SUFFIX}"
    path.write_bytes(b"hokusai points 9")
    for _ in range(3):
        manager.runtime.waiting()
    assert path.exists()
    assert caplog.text.count("later.points holds metrics that this release cannot read") == 1


def test_what_cannot_be_removed_is_appended_once_and_told_once(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make()
    manager.start_run()
    leave(tmp_path, "another server", "0" * 32, (("loss",), (0.5,), 1000, 1))

    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(f"not {self.name}")

    monkeypatch.setattr(Path, "unlink", refuse)
    for _ in range(3):
        assert waiting(manager) == {"another server": 1}
    assert caplog.text.count("cannot be removed") == 1


def test_a_journal_that_fails_keeps_what_is_left(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make()
    manager.start_run()
    fallback = manager.runtime.fallback
    assert fallback is not None

    def full(*_: object) -> str:
        raise NotStoredError("The disk is full.", ())

    leave(tmp_path, "another server", "0" * 32, (("loss",), (0.5,), 1000, 1))
    monkeypatch.setattr(fallback, "append", full)
    assert waiting(manager) == {}
    monkeypatch.undo()
    assert waiting(manager) == {"another server": 1}
