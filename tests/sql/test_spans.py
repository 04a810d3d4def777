"""Batches that follow each other are settled by their sequence numbers: no more and no fewer."""

import pytest

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal import SqlJournal
from hokusai_backend_sql.spans import delivered_span
from hokusai_core.journal import Claim, EntryQuery, Release, Settlement
from hokusai_core.operations import LogBatch, UpdateRun
from tests.sql.queueing import HERE, append, claim, delivered, log_metric, op_ids

EVERY = ("waiting", "delivered", "dead", "discarded")


@pytest.fixture
def journal(database: Database) -> SqlJournal:
    database.upgrade()
    return SqlJournal(database)


@pytest.fixture
def batches(journal: SqlJournal) -> list[LogBatch]:
    operations = [log_metric("r", n) for n in range(6)]
    append(journal, *operations)
    return operations


def states(journal: SqlJournal) -> list[str]:
    return [entry.state for entry in journal.journal_read(EntryQuery(states=EVERY))]


def settle(journal: SqlJournal, claimed: Claim, batches: list[LogBatch]) -> int:
    settlements = tuple(delivered(one) for one in batches)
    assert delivered_span(claimed, settlements) is not None
    return journal.journal_settle(claimed, settlements)


def test_a_part_of_a_claim(journal: SqlJournal, batches: list[LogBatch]) -> None:
    claimed = claim(journal)
    assert settle(journal, claimed, batches[1:4]) == 3
    assert states(journal) == ["waiting", *["delivered"] * 3, *["waiting"] * 2]
    assert journal.journal_unsettled(("run/r",)) == 3
    journal.journal_release(claimed, Release())
    assert op_ids(claim(journal)) == [batches[0].op_id, batches[4].op_id, batches[5].op_id]


def test_what_came_after_the_claim_stays(journal: SqlJournal, batches: list[LogBatch]) -> None:
    claimed = claim(journal, limit=3)
    append(journal, log_metric("r", 7))
    assert settle(journal, claimed, batches[:3]) == 3
    assert states(journal) == [*["delivered"] * 3, *["waiting"] * 4]


def test_what_was_discarded_meanwhile_stays_so(
    journal: SqlJournal, batches: list[LogBatch]
) -> None:
    claimed = claim(journal)
    journal.journal_discard((batches[2].op_id,))
    assert settle(journal, claimed, batches) == 5
    assert states(journal) == ["delivered"] * 2 + ["discarded"] + ["delivered"] * 3
    assert journal.journal_unsettled(("run/r",)) == 0


def test_what_died_and_was_retried_meanwhile_waits(
    journal: SqlJournal, batches: list[LogBatch]
) -> None:
    claimed = claim(journal)
    dead = Settlement(op_id=batches[2].op_id, outcome="dead", error="no")
    journal.journal_settle(claimed, (dead,))
    journal.journal_retry((batches[2].op_id,))
    assert settle(journal, claimed, batches[:2]) == 2
    rest = tuple(delivered(one) for one in (batches[1], batches[3]))
    assert delivered_span(claimed, rest) is None
    assert settle(journal, claimed, batches[3:]) == 3
    assert states(journal) == ["delivered"] * 2 + ["waiting"] + ["delivered"] * 3


def test_anything_else_is_no_span(journal: SqlJournal, batches: list[LogBatch]) -> None:
    end = UpdateRun(run_id="r", status="FINISHED", end_time=1)
    append(journal, end)
    claimed = claim(journal)
    known = [delivered(one) for one in batches]
    for other in (
        [],
        [known[0], known[2]],
        [known[1], known[0]],
        [*known[:2], Settlement(op_id=batches[2].op_id, outcome="dead", error="no")],
        [*known, delivered(end)],
        [*known[4:], delivered(log_metric("r"))],
        [delivered(log_metric("r"))],
    ):
        assert delivered_span(claimed, other) is None
    assert claimed.destination == HERE
