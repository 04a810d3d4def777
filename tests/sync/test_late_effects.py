"""A write that was sent, and that nobody keeps, may take effect after the next one of its stream."""

from typing import cast

import pytest

from hokusai_core.errors import JournalUnavailableError, NotStoredError
from hokusai_core.hookspecs import Journal, OpenContent
from hokusai_core.journal import Entry, EntryQuery
from hokusai_core.operations import CreateExperiment, CreateRun, LogBatch, MetricPoint
from hokusai_core.settings import Settings
from hokusai_core.testing.ledger import Register, Write
from hokusai_core.testing.memory_journal import MemoryJournal
from hokusai_core.testing.simulation import (
    MemoryPlace,
    SimulatedClock,
    SimulatedProcess,
    World,
)

WINDOW_SECONDS = 60.0
CIRCUIT_SECONDS = 16.0


class Spool(MemoryJournal):
    """One whose disk may be full."""

    full = False

    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        if self.full:
            raise JournalUnavailableError("The disk is full.")
        return super().journal_append(entries, open_content)


class Job:
    """A process with a run, one of whose writes is under way and kept nowhere."""

    def __init__(self, spool: Spool | None = None) -> None:
        clock = SimulatedClock()
        settings = Settings.load(auto_sync=False, late_effect_seconds=WINDOW_SECONDS)
        self.world = World(MemoryPlace(clock), clock, settings)
        self.process = SimulatedProcess(self.world, "only", cast("Journal | None", spool))
        experiment_id = self.process.router.write(CreateExperiment(name="e")).identifier
        creation = CreateRun(experiment_id=experiment_id, run_name="run", start_time=1)
        self.run_id = self.process.router.write(creation).identifier

    def tag(self, value: str) -> str:
        """Set the tag; whether it was ``delivered`` or is ``pending``."""
        return self.process.router.write(LogBatch(run_id=self.run_id, tags={"stage": value})).state

    def lose(self, value: str) -> NotStoredError:
        """Set the tag while its request is delayed and the journal away; both come back."""
        self.world.journal_down = True
        self.world.delays = 1
        with pytest.raises(NotStoredError) as raised:
            self.tag(value)
        self.world.journal_down = False
        self.world.clock.advance(CIRCUIT_SECONDS)
        return raised.value

    def drain(self) -> None:
        while self.process.worker.run_once().kind == "progress":
            pass

    def waiting(self) -> int:
        return self.world.place.journal.journal_backlog("").waiting

    def stage(self) -> str | None:
        return self.world.primary.store.get_run(self.run_id).data.tags.get("stage")


def test_the_next_write_waits_until_the_late_effect_can_come_no_more() -> None:
    job = Job()
    job.lose("early")
    assert job.tag("late") == "pending"
    job.drain()
    assert job.waiting() == 1
    job.world.clock.advance(WINDOW_SECONDS - CIRCUIT_SECONDS)
    job.drain()
    assert job.waiting() == 0
    assert job.stage() == "late"


def test_what_comes_behind_a_write_that_waits_waits_too() -> None:
    job = Job()
    job.lose("early")
    assert [job.tag("second"), job.tag("third")] == ["pending", "pending"]
    job.world.clock.advance(WINDOW_SECONDS)
    job.drain()
    assert job.stage() == "third"


def test_the_next_write_is_delivered_at_once_where_no_journal_takes_it() -> None:
    job = Job()
    job.lose("early")
    job.world.journal_down = True
    assert job.tag("late") == "delivered"
    assert job.stage() == "late"


def test_a_write_that_the_journal_may_have_is_not_sent_as_well() -> None:
    job = Job()
    job.lose("early")
    job.world.answers_to_lose.append("journal_append")
    with pytest.raises(NotStoredError):
        job.tag("second")
    assert job.stage() is None
    assert job.tag("third") == "pending"
    job.world.clock.advance(WINDOW_SECONDS)
    job.drain()
    assert job.stage() == "third"


def test_after_the_window_writes_are_delivered_at_once() -> None:
    job = Job()
    job.lose("early")
    job.world.clock.advance(WINDOW_SECONDS)
    assert job.stage() == "early"
    assert job.tag("late") == "delivered"
    assert job.stage() == "late"


def test_metrics_do_not_wait_for_a_late_tag() -> None:
    job = Job()
    job.lose("early")
    point = MetricPoint(key="loss", value=1.0, timestamp=1, step=0)
    batch = LogBatch(run_id=job.run_id, metrics=(point,))
    assert job.process.router.write(batch).state == "delivered"


def test_a_write_that_comes_to_the_journal_by_the_spool_waits_there() -> None:
    spool = Spool()
    job = Job(spool)
    spool.full = True
    job.lose("early")
    spool.full = False
    job.world.journal_down = True
    assert job.tag("late") == "pending"
    assert len(spool.journal_read(EntryQuery())) == 1
    job.world.journal_down = False
    job.process.forward()
    job.drain()
    assert job.waiting() == 1
    job.world.clock.advance(WINDOW_SECONDS)
    job.drain()
    assert job.stage() == "late"


def test_the_error_says_that_the_write_may_still_take_effect() -> None:
    sent = Job().lose("early")
    assert "It was sent, and may still take effect." in str(sent)
    refused = Job()
    refused.world.primary.down()
    refused.world.journal_down = True
    with pytest.raises(NotStoredError) as raised:
        refused.tag("early")
    assert "may still take effect" not in str(raised.value)
    assert any(isinstance(cause, JournalUnavailableError) for cause in raised.value.causes)


def write(value: str, **changes: object) -> Write:
    return Write(**{"process": "one", "op_id": value, "value": value, **changes})  # type: ignore[arg-type]


LOST = write("lost", certain=False, at=1.0, late_until=61.0)


@pytest.mark.parametrize(
    ("later", "acceptable"),
    [
        ([], {"lost", None}),
        ([write("next", at=2.0)], {"next"}),
        ([write("next", at=2.0, direct=True)], {"next", "lost"}),
        ([write("next", at=2.0, life=1)], {"next", "lost"}),
        ([write("next", at=61.0, direct=True)], {"next"}),
        ([write("next", at=2.0, direct=True), write("last", at=3.0)], {"last"}),
        ([write("next", at=2.0, direct=True), write("last", at=99.0, direct=True)], {"last"}),
    ],
    ids=["alone", "waited", "sent", "begun anew", "later", "one waited", "one later"],
)
def test_the_ledger_allows_what_nothing_waited_for(
    later: list[Write], acceptable: set[str | None]
) -> None:
    assert Register([LOST, *later]).acceptable(set()) == acceptable
