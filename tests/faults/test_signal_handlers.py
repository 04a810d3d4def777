"""A signal handler that logs, at any point of a call: nobody stands still, and nothing is lost."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal import SqlJournal
from hokusai_core import ExperimentManager, NotStoredError, Settings, UnavailableError
from hokusai_core.errors import HokusaiError, JournalUnavailableError
from hokusai_core.journal import Entry
from hokusai_core.lazy import Lazy
from hokusai_core.operations import LogBatch, MetricPoint
from hokusai_core.reentrant_event import ReentrantEvent
from hokusai_core.settings import Delivery, Durability
from hokusai_core.testing import MockBackend
from tests.support.signal_points import SignalPoint, points_of, spread

pytestmark = pytest.mark.timeout(300)

QUICK_POINTS, SOAK_POINTS = 40, 1000


@pytest.fixture(params=[QUICK_POINTS, pytest.param(SOAK_POINTS, marks=pytest.mark.soak)])
def most(request: pytest.FixtureRequest) -> int:
    return int(request.param)


Make = Callable[[Delivery, Durability], ExperimentManager]


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def make(mock: MockBackend, tmp_path: Path) -> Iterator[Make]:
    made: list[ExperimentManager] = []

    def make(delivery: Delivery, durability: Durability) -> ExperimentManager:
        settings = Settings.load(
            data_dir=tmp_path,
            fallback="sql",
            auto_sync=False,
            delivery=delivery,
            durability=durability,
            late_effect_seconds=0.0,
            circuit_open_seconds=600.0,
            circuit_open_max_seconds=600.0,
        )
        made.append(ExperimentManager("signals", backend=mock, settings=settings))
        return made[-1]

    yield make
    for manager in made:
        manager.runtime.close_connections()


@pytest.mark.parametrize("durability", ["machine", "process", "relaxed"])
@pytest.mark.parametrize("delivery", ["direct", "queued"])
def test_a_handler_logs_at_any_point_of_a_call(
    make: Make, mock: MockBackend, delivery: Delivery, durability: Durability, most: int
) -> None:
    """Also while the call counts what waits, for which it moves entries within the journal."""
    manager = make(delivery, durability)
    run = manager.start_run()
    mock.down()
    run.log_metric("loss", 0.5, step=0)
    logged, handled, tags, refused = {0}, set(), {}, 0

    def call(step: int) -> None:
        run.log_metric("loss", 0.5, step=step)
        logged.add(step)
        assert run.sync_state == "pending"

    def handler(step: int) -> None:
        nonlocal refused
        try:
            run.log_metric("handled", 0.5, step=step)
            handled.add(step)
            run.set_tag(f"tag {step}", "set")
            tags[f"tag {step}"] = "set"
        except NotStoredError as failure:
            assert "a signal handler came" in str(failure)
            refused += 1

    call(1)
    total = points_of(lambda: call(2))
    chosen = spread(total, most)
    for step, at in enumerate(chosen, 3):
        SignalPoint(at, lambda step=step: handler(step)).call(lambda step=step: call(step))
    assert refused < len(chosen) // 2
    mock.up()
    run.end()
    # Of a runtime whose circuit is closed.
    drain = make("queued", "relaxed").runtime.drain()
    report = drain.run(wait_seconds=30.0, stop=threading.Event())
    assert (report.left, report.dead) == (0, 0)
    for key, steps in (("loss", logged), ("handled", handled)):
        history = [point.step for point in manager.get_metric_history(run.run_id, key)]
        assert sorted(history) == sorted(steps)
    assert tags.items() <= manager.get_run(run.run_id).data.tags.items()


@pytest.mark.parametrize("unfinished", [UnavailableError, JournalUnavailableError])
def test_a_handler_that_asks_for_what_is_being_opened_gets_an_error(
    unfinished: type[HokusaiError],
) -> None:
    values: list[Lazy[int]] = []

    def factory() -> int:
        with pytest.raises(unfinished, match="signal handler"):
            values[0].get()
        return 7

    values.append(Lazy(factory, unfinished))
    assert (values[0].get(), values[0].opened()) == (7, 7)


def test_the_first_write_of_an_outage_may_be_interrupted_by_a_handler_that_writes(
    make: Make, mock: MockBackend
) -> None:
    mock.down()
    total = points_of(lambda: make("direct", "machine").start_run())
    for at in spread(total, 25):
        manager = make("direct", "machine")
        manager.start_run().end()
        manager = make("direct", "machine")

        def handler(manager: ExperimentManager = manager) -> None:
            try:
                manager.start_run(run_name="of the handler", nested=True).end()
            except NotStoredError as failure:
                assert "signal handler" in str(failure)

        SignalPoint(at, handler).call(lambda manager=manager: manager.start_run(nested=True))


def test_a_write_within_a_write_of_the_same_thread_is_refused_at_once(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}", Settings.load(journal_timeout=60.0))
    journal = SqlJournal(database)
    point = MetricPoint(key="loss", value=0.5, timestamp=1)
    operation = LogBatch(run_id="run", metrics=(point,))
    entry = Entry(operation=operation, destination="somewhere", fresh=True)
    journal.journal_append((entry,), None)
    with (
        database.begin(),
        pytest.raises(JournalUnavailableError, match="signal handler") as refused,
    ):
        journal.journal_append((entry,), None)
    assert not refused.value.maybe_applied
    assert journal.journal_unsettled((entry.stream,)) == 1
    database.close()


def test_a_handler_reads_the_file_as_it_is(tmp_path: Path) -> None:
    """Not as it was when its thread began to read it, which would not change for as long."""
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}", Settings.load())
    database.upgrade()
    seen = []

    def handler() -> None:
        with database.begin() as connection:
            connection.exec_driver_sql("INSERT INTO pruned_operations (op_id) VALUES ('a')")
        seen.append(database.run_alone("SELECT count(*) FROM pruned_operations"))
        with database.begin() as connection:
            connection.exec_driver_sql("DELETE FROM pruned_operations")

    def count() -> object:
        return database.run_alone("SELECT count(*) FROM pruned_operations")

    total = points_of(count)
    for at in range(1, total + 1):
        SignalPoint(at, handler).call(count)
    assert len(seen) > 10
    assert set(seen) == {1}
    database.close()


def test_an_event_is_set_by_a_handler_while_its_thread_sets_it() -> None:
    event = ReentrantEvent()
    with event._cond:
        event.set()
    assert event.wait(0.0)
    event.clear()
    assert not event.is_set()
