"""Ctrl-C at any point of a call: the next call works, what returned is kept, and nothing is doubled.

The interrupt is raised at a chosen point of the library, where Python itself would raise it. A
real signal to a real job is in ``tests/acceptance/test_fork_and_exit.py``.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hokusai_core import ExperimentManager, Settings
from hokusai_core.journal import EntryQuery
from hokusai_core.testing import MockBackend
from tests.support.signal_points import SignalPoint, points_of, spread

pytestmark = [
    pytest.mark.timeout(1200),
    # Python drops an interrupt that comes while it closes a generator nobody holds any more.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
QUICK_POINTS = 60
SOAK_POINTS = 600


def interrupted_at(point: int, function: Callable[[], Any]) -> bool:
    """Call a function with Ctrl-C at a point; says whether it was interrupted."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    try:
        SignalPoint(point, interrupt).call(function)
    except KeyboardInterrupt:
        return True
    return False


@pytest.fixture(params=[QUICK_POINTS, pytest.param(SOAK_POINTS, marks=pytest.mark.soak)])
def most(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def make_manager(mock: MockBackend, tmp_path: Path) -> Iterator[Callable[[], ExperimentManager]]:
    managers: list[ExperimentManager] = []

    def make() -> ExperimentManager:
        # Each with machinery of its own, so that its first call opens the journal.
        settings = Settings.load(
            data_dir=tmp_path,
            fallback="sql",
            auto_sync=False,
            durability="process",
            late_effect_seconds=0.0,
            journal_timeout=15.0,
            # An interrupted worker's lease has to end.
            write_timeout=1.0,
            artifact_idle_timeout=1.0,
            lease_seconds=2.0,
            sync_threads=1,
            circuit_open_seconds=0.001,
            circuit_open_max_seconds=0.001 * (1 + len(managers)),
        )
        managers.append(ExperimentManager("interrupts", backend=mock, settings=settings))
        return managers[-1]

    yield make
    for manager in managers:
        manager.runtime.close_connections()


def drain(manager: ExperimentManager) -> None:
    report = manager.runtime.drain().run(wait_seconds=30.0, stop=threading.Event())
    assert (report.left, report.dead) == (0, 0), report.reasons


@pytest.mark.parametrize("away", [False, True], ids=["in health", "in an outage"])
def test_a_write_that_is_interrupted_leaves_all_in_order(
    make_manager: Callable[[], ExperimentManager], mock: MockBackend, most: int, away: bool
) -> None:
    manager = make_manager()
    run = manager.start_run()
    if away:
        mock.down()
        run.log_metric("loss", -1.0, step=0)
    total = points_of(lambda: run.log_metric("loss", -1.0, step=1))
    returned, interrupted = {0, 1} if away else {1}, set()
    for step, at in enumerate(spread(total, most), 2):
        cut = interrupted_at(at, lambda step=step: run.log_metric("loss", -1.0, step=step))
        (interrupted if cut else returned).add(step)
        run.set_tag("step", step)
    assert len(interrupted) > min(total, most) // 2
    mock.up()
    run.end()
    drain(manager)
    history = [point.step for point in manager.get_metric_history(run.run_id, "loss")]
    assert len(history) == len(set(history))
    assert returned <= set(history) <= returned | interrupted
    stored = manager.get_run(run.run_id)
    assert (stored.info.status, stored.data.tags["step"]) == ("FINISHED", str(step))


def test_a_first_write_that_is_interrupted_leaves_the_journal_usable(
    make_manager: Callable[[], ExperimentManager], mock: MockBackend, most: int
) -> None:
    mock.down()
    total = points_of(lambda: make_manager().start_run(run_name="counted"))
    kept = {"counted"}
    tried = set()
    # Each is a journal opened anew; the points of its opening are the first ones.
    for number, at in enumerate(spread(total, min(most, 600) // 10)):
        manager = make_manager()
        name = f"interrupted {number}"
        tried.add(name)
        interrupted_at(at, lambda manager=manager, name=name: manager.start_run(run_name=name))
        with manager.start_run(run_name=f"after {number}", nested=True):
            kept.add(f"after {number}")
    mock.up()
    drain(manager)
    names = [run.info.run_name for run in mock.store.runs()]
    assert len(names) == len(set(names))
    assert kept <= set(names) <= kept | tried


def test_a_delivery_that_is_interrupted_goes_on(
    make_manager: Callable[[], ExperimentManager], mock: MockBackend, most: int
) -> None:
    manager = make_manager()
    mock.down()

    def write(number: int) -> None:
        with manager.start_run(run_name=f"run {number}", tags={"a": "b"}) as run:
            run.log_metric("loss", 0.5)
            run.log_text("text", "file.txt")

    write(0)
    mock.up()
    worker = manager.runtime._new_worker("interrupted")
    total = points_of(worker.run_once)
    drain(manager)
    numbers = list(enumerate(spread(total, most // 5), 1))
    mock.down()
    for number, _ in numbers:
        write(number)
    mock.up()
    for _, at in numbers:
        interrupted_at(at, lambda: manager.runtime._new_worker("interrupted").run_once())
    drain(manager)
    runs = mock.store.runs()
    assert sorted(run.info.run_name for run in runs) == sorted(
        f"run {number}" for number in range(len(numbers) + 1)
    )
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"loss": 0.5}
    fallback = manager.runtime.fallback
    assert fallback is not None
    assert fallback.read(EntryQuery(states=("waiting", "dead"))) == ()
