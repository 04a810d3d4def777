"""Old entries go at most once an hour, from every place, and a journal that is away harms nothing."""

import threading

import pytest

from hokusai_core.errors import InvalidInputError
from hokusai_core.journal import ClaimRequest, Entry, EntryQuery, Release, Settlement
from hokusai_core.operations import LogBatch, MetricPoint
from hokusai_core.retention import Pruner
from hokusai_core.testing import MemoryJournal
from tests.core.clocks import ManualClock

HOUR = 3600.0


class Calendar:
    """Wall clock of a journal."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def deliver(journal: MemoryJournal) -> LogBatch:
    batch = LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))
    journal.journal_append((Entry(operation=batch, destination="d"),), None)
    (claim,) = journal.journal_claim(ClaimRequest(destination="d", worker="w"))
    journal.journal_settle(claim, (Settlement(op_id=batch.op_id, outcome="delivered"),))
    journal.journal_release(claim, Release())
    return batch


def kept(journal: MemoryJournal) -> int:
    return len(journal.journal_read(EntryQuery(states=("delivered",))))


def test_old_entries_go_once_an_hour() -> None:
    clock, calendar = ManualClock(), Calendar()
    journals = [MemoryJournal(calendar), MemoryJournal(calendar)]
    pruner = Pruner(lambda: journals, 2 * HOUR, clock)
    for journal in journals:
        deliver(journal)
    assert pruner.prune_if_due() == 0
    calendar.now += 3 * HOUR
    clock.advance(HOUR - 1)
    assert pruner.prune_if_due() == 0
    assert [kept(journal) for journal in journals] == [1, 1]
    clock.advance(1)
    assert pruner.prune_if_due() == 2
    assert [kept(journal) for journal in journals] == [0, 0]


def test_a_journal_that_is_away_is_left_for_the_next_time() -> None:
    clock, calendar = ManualClock(), Calendar()
    journal = MemoryJournal(calendar)
    pruner = Pruner(lambda: [journal], HOUR, clock)
    deliver(journal)
    calendar.now += 2 * HOUR
    journal.down()
    assert pruner.prune_if_due() == 0
    journal.up()
    clock.advance(HOUR)
    assert pruner.prune_if_due() == 1


def test_threads_prune_once() -> None:
    calls = []

    class Counting(MemoryJournal):
        def journal_prune(self, retention_seconds: float) -> int:
            calls.append(retention_seconds)
            return 0

    pruner = Pruner(lambda: [Counting()], HOUR, ManualClock())
    threads = [threading.Thread(target=pruner.prune_if_due) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [HOUR]


def test_a_defect_is_no_journal_that_is_away() -> None:
    def broken() -> list[MemoryJournal]:
        raise InvalidInputError("broken")

    with pytest.raises(InvalidInputError):
        Pruner(broken, HOUR, ManualClock()).prune_if_due()
