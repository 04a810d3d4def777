"""The sync protocol under everything that Hypothesis can think of."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import update

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import operations, streams
from hokusai_core.entities import Receipt
from hokusai_core.forwarding import Forwarder
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Claim, EntryQuery, QueuedOperation
from hokusai_core.primary_lookups import PrimaryLookups
from hokusai_core.router import Router
from hokusai_core.settings import Delivery
from hokusai_core.testing.journal_tables import StreamRecord
from hokusai_core.testing.memory_journal import MemoryJournal
from hokusai_core.testing.simulation import SimulatedClock
from hokusai_core.testing.state_machine import SyncMachine
from tests.support.sql_fixtures import OpenSql

_FAST = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
_OVER_SQL = settings(_FAST, max_examples=6, stateful_step_count=25)
_SOAK = settings(_FAST, max_examples=1500, stateful_step_count=60, derandomize=False)
_MUTANT = settings(_SOAK, max_examples=40_000, stateful_step_count=20, phases=(Phase.generate,))
"""Where the fence is missing, one of some 4,000 examples shows it."""


class SqlPlace:
    """A journal in a database whose clock cannot be set: what it has stored moves into the past."""

    def __init__(self, journal: Journal, database: Database) -> None:
        self.journal = journal
        self._database = database

    def time_passes(self, seconds: float) -> None:
        with self._database.begin() as connection:
            for table, names in (
                (streams, ("ready_at", "lease_until")),
                (operations, ("not_before", "unmarked_not_before", "appended_at", "settled_at")),
            ):
                moved = {name: table.c[name] - seconds for name in names}
                connection.execute(update(table).values(moved))

    def close(self) -> None:
        """The fixtures close what they opened."""


def over(open_place: Callable[[SimulatedClock], object]) -> type[SyncMachine]:
    return type("Machine", (SyncMachine,), {"open_place": staticmethod(open_place)})


DELIVERIES: list[tuple[Delivery, Delivery]] = [
    ("direct", "direct"),
    ("queued", "queued"),
    ("direct", "queued"),
    ("queued", "direct"),
]
"""Of the two processes; the first has a spool."""

deliveries = pytest.mark.parametrize("deliveries", DELIVERIES, ids="-".join)


def delivering(
    machine: type[SyncMachine], deliveries: tuple[Delivery, Delivery]
) -> type[SyncMachine]:
    return type("Machine", (machine,), {"deliveries": deliveries})


@pytest.fixture
def sql_machine(open_sql: OpenSql, database_url: str, database: Database) -> type[SyncMachine]:
    place = SqlPlace(open_sql(database_url).journal, database)
    place.journal.journal_upgrade()
    return over(lambda _clock: place)


@deliveries
def test_memory_journal(deliveries: tuple[Delivery, Delivery]) -> None:
    run_state_machine_as_test(delivering(SyncMachine, deliveries), settings=_FAST)


def test_sql_journals(sql_machine: type[SyncMachine]) -> None:
    run_state_machine_as_test(sql_machine, settings=_OVER_SQL)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@deliveries
def test_memory_journal_for_long(deliveries: tuple[Delivery, Delivery]) -> None:
    run_state_machine_as_test(delivering(SyncMachine, deliveries), settings=_SOAK)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@deliveries
def test_sql_journals_for_long(
    sql_machine: type[SyncMachine], deliveries: tuple[Delivery, Delivery]
) -> None:
    machine = delivering(sql_machine, deliveries)
    run_state_machine_as_test(machine, settings=settings(_SOAK, max_examples=100))


def without_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every worker renew, settle and release, whoever holds the stream."""

    def held(self: MemoryJournal, claim: Claim) -> StreamRecord:
        return self._streams[(claim.destination, claim.stream)]

    monkeypatch.setattr(MemoryJournal, "_held", held)


def without_adoption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create anew what may have been created."""

    def earlier_attempt(self: PrimaryLookups, *_arguments: object) -> Receipt | None:
        return None

    monkeypatch.setattr(PrimaryLookups, "earlier_attempt", earlier_attempt)


def without_stickiness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write to the primary while earlier writes of the stream wait."""

    def has_to_queue(self: Router, _operation: object) -> bool:
        return False

    monkeypatch.setattr(Router, "_has_to_queue", has_to_queue)


def without_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward the last operation of the spool first."""
    forward = Forwarder.forward

    class Backwards:
        def __init__(self, spool: Journal) -> None:
            self._spool = spool

        def __getattr__(self, name: str) -> object:
            return getattr(self._spool, name)

        def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
            return self._spool.journal_read(query)[::-1] if query.after == 0 else ()

    def forward_backwards(self: Forwarder) -> int:
        spool, self._spool = self._spool, Backwards(self._spool)
        try:
            return forward(self)
        finally:
            self._spool = spool

    monkeypatch.setattr(Forwarder, "forward", forward_backwards)


def needs_fence(machine: SyncMachine) -> None:
    run = machine.start_first_run(process=0, down=False)
    machine.write_around_an_outage(
        process=0, run=run, failure="down", other_id=False, afterwards=False
    )
    machine.worker_is_paused(
        process=1, point="after send", skip=0, long=True, writer=0, run=run, steps=2
    )


def needs_adoption(machine: SyncMachine) -> None:
    machine.start_first_run(process=0, down=False)
    machine.next_writes_fail(failure="lost answer", count=1)
    machine.start_run(process=0, parent=None, tagged=False)


def needs_stickiness(machine: SyncMachine) -> None:
    run = machine.start_first_run(process=0, down=False)
    machine.write_around_an_outage(
        process=0, run=run, failure="down", other_id=False, afterwards=True
    )


def needs_order(machine: SyncMachine) -> None:
    run = machine.start_first_run(process=0, down=False)
    machine.primary_is(down=True)
    machine.journal_is(down=True)
    for _ in range(2):
        machine.log(process=0, run=run, other_id=False, metrics=1, params=1, tag="stage")


def play(steps: Callable[[SyncMachine], None]) -> None:
    machine = SyncMachine()
    steps(machine)
    machine.teardown()


MUTANTS = {
    "fence": (without_fence, needs_fence),
    "adoption": (without_adoption, needs_adoption),
    "stickiness": (without_stickiness, needs_stickiness),
    "order": (without_order, needs_order),
}


@pytest.mark.parametrize("mechanism", MUTANTS)
def test_without_a_mechanism_the_machine_fails(
    mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, steps = MUTANTS[mechanism]
    play(steps)
    remove(monkeypatch)
    with pytest.raises(AssertionError, match=r"not one of|there 2 times|reads"):
        play(steps)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mechanism", MUTANTS)
def test_random_steps_find_that_a_mechanism_is_missing(
    mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, _ = MUTANTS[mechanism]
    remove(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(SyncMachine, settings=_MUTANT)
