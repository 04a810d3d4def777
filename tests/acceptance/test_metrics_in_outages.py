"""Metrics of an outage with direct delivery, where a file holds them before the journal does."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from hokusai_core import ExperimentManager, NotStoredError, Settings
from hokusai_core.clock import Deadline
from hokusai_core.journal import EntryQuery
from hokusai_core.outage_buffer import QueuedInOutage
from hokusai_core.points_file import PointsFile
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for

THREADS = 6
PROBES: dict[str, Any] = {"circuit_open_seconds": 0.02, "circuit_open_max_seconds": 0.05}
NO_PROBES: dict[str, Any] = {"circuit_open_seconds": 1e6, "circuit_open_max_seconds": 1e6}


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def managers(mock: MockBackend, tmp_path: Path) -> Iterator[Any]:
    """Makes managers over one mock and one SQLite journal."""
    made: list[ExperimentManager] = []

    def make(**values: Any) -> ExperimentManager:
        settings = {
            "data_dir": tmp_path / "data",
            "fallback": "sql",
            "late_effect_seconds": 0.2,
            "exit_timeout": 0.0,
            "durability": "process",
        }
        made.append(
            ExperimentManager("outage", backend=mock, settings=Settings.load(**settings | values))
        )
        return made[-1]

    yield make
    mock.up()
    for manager in made:
        manager.runtime.close(5.0)
        manager.runtime.drainer.stop(5.0)
        manager.runtime.close_connections()


@pytest.fixture
def points_folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hokusai.db-points"


def test_what_waits_is_in_a_file_and_what_is_sent_is_not(
    managers: Any, mock: MockBackend, points_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueuedInOutage, "interval", 1e6)
    manager = managers(**NO_PROBES, auto_sync=False)
    run = manager.start_run()
    run.log_metric("loss", 1.0, step=0)
    assert not points_folder.exists()
    mock.down()
    run.log_metric("loss", 0.5, step=1)
    assert not points_folder.exists(), "the call that finds the server away goes to the journal"
    with monkeypatch.context() as patch:
        patch.setattr(manager.runtime.fallback, "append", _refuse)  # no call touches the journal
        for step in range(2, 40):
            run.log_metric("loss", 1 / step, step=step)
    assert len(list(points_folder.iterdir())) == 1
    seen = run.get().data.metrics, len(manager.get_metric_history(run.run_id, "loss"))
    assert seen == ({"loss": 1 / 39}, 39)  # a read in an outage knows what is queued
    mock.up()
    primary = managers(**PROBES, auto_sync=False)
    assert primary.runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete
    history = primary.get_metric_history(run.primary_id, "loss")
    assert [point.step for point in history] == list(range(40))


def test_other_writes_of_the_run_come_after_the_metrics(
    managers: Any, mock: MockBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueuedInOutage, "interval", 1e6)
    mock.down()
    manager = managers(**NO_PROBES, auto_sync=False)
    with manager.start_run() as run:
        run.log_metric("loss", 0.5)
        run.log_metric("loss", 0.25, step=1)
        run.log_param("rate", 0.1)
        run.log_metric("loss", 0.125, step=2)
    entries = manager.runtime.fallback.journal.journal_read(EntryQuery())
    of_run = [entry.operation for entry in entries if entry.kind in ("log_batch", "update_run")]
    what = [
        [point.step for point in one.metrics] if one.kind == "log_batch" else one.status
        for one in of_run
    ]
    assert what == [[0, 1], [], [2], "FINISHED"]


@pytest.mark.parametrize(("auto_sync", "calls"), [(True, 300), (False, 60)])
def test_threads_that_log_while_the_server_comes_and_goes_lose_nothing(
    auto_sync: bool, calls: int, managers: Any, mock: MockBackend
) -> None:
    manager = managers(**PROBES, auto_sync=auto_sync)
    run = manager.start_run()
    over = threading.Event()

    def log(thread: int) -> None:
        for step in range(calls):
            run.log_metric(f"m{thread}", step / 7, step=step)
            if step % 30 == 29:
                run.set_tag(f"t{thread}", step)
                over.wait(0.01)

    def come_and_go() -> None:
        while not over.wait(0.015):
            mock.down()
            over.wait(0.03)
            mock.up()

    with ThreadPoolExecutor(THREADS + 1) as threads:
        weather = threads.submit(come_and_go)
        logging = [threads.submit(log, thread) for thread in range(THREADS)]
        for one in logging:
            one.result(60)
        over.set()
        weather.result(10)
    mock.up()
    assert manager.runtime.drain().run(wait_seconds=10, stop=threading.Event()).complete
    run.wait(10)
    stored = managers(auto_sync=False)
    assert stored.get_run(run.primary_id).data.tags.items() >= {
        (f"t{thread}", str(calls - 1)) for thread in range(THREADS)
    }
    for thread in range(THREADS):
        history = stored.get_metric_history(run.primary_id, f"m{thread}")
        assert [(point.step, point.value) for point in history] == [
            (step, step / 7) for step in range(calls)
        ]


def test_a_run_is_direct_again_when_all_of_it_has_arrived(
    managers: Any, mock: MockBackend, points_folder: Path
) -> None:
    manager = managers(**PROBES)
    mock.down()
    run = manager.start_run()
    for step in range(20):
        run.log_metric("loss", 0.5, step=step)
    mock.up()
    run.wait(10)
    wait_for(lambda: run.log_metric("loss", 0.25) or run.sync_state == "delivered", 10)
    run.log_metric("accuracy", 0.75)
    assert managers(auto_sync=False).get_run(run.primary_id).data.metrics["accuracy"] == 0.75
    manager.runtime.points.close()
    assert list(points_folder.iterdir()) == []


def test_no_point_waits_behind_a_run_that_becomes_direct(
    managers: Any, mock: MockBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A point that comes between the count of what waits, 0, and what is done about it."""
    monkeypatch.setattr(QueuedInOutage, "interval", 1e6)
    manager = managers(**PROBES, auto_sync=False)
    run = manager.start_run()
    mock.down()
    run.log_metric("loss", 0.5)
    mock.up()
    assert manager.runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete
    wait_for(lambda: manager.runtime.circuits.primary.seconds_until_probe() == 0, 10)
    count = manager.runtime.fallback.unsettled

    with ThreadPoolExecutor(1) as thread:

        def counted(streams: tuple[str, ...]) -> int:
            waiting: int = count(streams)
            with monkeypatch.context() as patch:
                patch.setattr(manager.runtime.circuits.primary, "seconds_until_probe", lambda: 1.0)
                later = thread.submit(run.log_metric, "later", 0.25)
                assert not wait([later], 0.3).done
            return waiting

        with monkeypatch.context() as patch:
            patch.setattr(manager.runtime.fallback, "unsettled", counted)
            run.log_metric("loss", 0.125, step=1)
    assert mock.tracking_get_run(run.run_id, Deadline(5)).data.metrics == {
        "loss": 0.125,
        "later": 0.25,
    }


def test_a_full_disk_is_told_at_the_call_and_nothing_of_it_is_kept(
    managers: Any, mock: MockBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock.down()
    manager = managers(**NO_PROBES, auto_sync=False)
    run = manager.start_run()
    run.log_metric("loss", 0.5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PointsFile, "append", full)
        run.log_metric("loss", 0.25, step=1)  # the journal still takes it
        patch.setattr(manager.runtime.fallback, "append", _refuse)
        with pytest.raises(NotStoredError):
            run.log_metric("loss", 0.125, step=2)
    assert [point.step for point in manager.get_metric_history(run.run_id, "loss")] == [0, 1]


def test_what_no_flush_could_append_is_said_to_be_in_its_file(
    managers: Any, mock: MockBackend, points_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueuedInOutage, "interval", 1e6)
    mock.down()
    manager = managers(**NO_PROBES, auto_sync=False)
    run = manager.start_run()
    run.log_metric("loss", 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(manager.runtime.fallback, "append", _refuse)
        with pytest.raises(NotStoredError, match="They stay there") as told:
            run.log_param("rate", 0.1)
    (path,) = points_folder.iterdir()
    assert str(path) in str(told.value)
    run.log_param("rate", 0.1)
    assert len(manager.get_metric_history(run.run_id, "loss")) == 1


def test_with_a_journal_on_a_server_each_call_appends(
    managers: Any, mock: MockBackend, postgres_url: str, points_folder: Path
) -> None:
    manager = managers(**NO_PROBES, auto_sync=False, database_url=postgres_url)
    mock.down()
    run = manager.start_run()
    for step in range(3):
        run.log_metric("loss", 0.5, step=step)
    entries = manager.runtime.fallback.journal.journal_read(EntryQuery())
    assert [entry.kind for entry in entries].count("log_batch") == 3
    assert not points_folder.exists()


def _refuse(*_: object) -> str:
    raise NotStoredError("nothing takes it", ())
