"""Entries, claims, settlements and releases, on both databases."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import operations as operation_rows
from hokusai_core.errors import LeaseLostError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry, EntryQuery, Release
from tests.sql.queueing import (
    HERE,
    append,
    claim,
    create_run,
    dead,
    delivered,
    log_metric,
    nothing_due,
    op_ids,
    states,
)

TimePasses = Callable[[float], None]


def test_an_empty_journal_has_nothing(journal: Journal) -> None:
    assert journal.journal_read(EntryQuery()) == ()
    assert nothing_due(journal)
    assert append(journal) == 0
    assert journal.journal_unsettled(("run/a",)) == 0
    assert journal.journal_unsettled(()) == 0
    assert journal.journal_backlog("").waiting == 0
    assert journal.journal_backlog("").oldest_at is None


def test_entries_are_read_back_in_order_with_their_values(journal: Journal) -> None:
    run = create_run()
    metric = log_metric("abc")
    entry = Entry(operation=metric, destination=HERE, maybe_applied=True, error="timed out")
    assert append(journal, run) == 1
    assert journal.journal_append((entry,), None) == 1
    first, second = journal.journal_read(EntryQuery())
    assert (first.operation, second.operation) == (run, metric)
    assert first.sequence < second.sequence
    assert (second.maybe_applied, second.error, second.state) == (True, "timed out", "waiting")
    assert second.stream == "run/abc"
    assert second.appended_at > 1e9


def test_a_known_op_id_is_passed_over_in_any_state(journal: Journal) -> None:
    run, metric = create_run(), log_metric("abc")
    assert append(journal, run, run, metric) == 2
    assert append(journal, run, metric) == 0
    claimed = claim(journal)
    journal.journal_settle(claimed, (delivered(run, "r1"),))
    assert append(journal, run, create_run()) == 1
    assert journal.journal_backlog("").waiting == 2


def test_streams_are_claimed_in_the_order_in_which_they_became_ready(journal: Journal) -> None:
    metrics = [log_metric(name) for name in ("z", "a", "m")]
    append(journal, *metrics)
    assert [op_ids(claim(journal)) for _ in metrics] == [[each.op_id] for each in metrics]
    assert nothing_due(journal)


def test_a_claim_hands_out_one_stream_in_order_up_to_the_limit(journal: Journal) -> None:
    metrics = [log_metric("a", value) for value in range(5)]
    append(journal, *metrics)
    claimed = claim(journal, limit=3, worker="me")
    assert op_ids(claimed) == [each.op_id for each in metrics[:3]]
    assert (claimed.stream, claimed.worker, claimed.fence) == ("run/a", "me", 1)
    assert not any(queued.maybe_applied for queued in claimed.operations)


def test_a_destination_is_apart_from_the_others(journal: Journal) -> None:
    append(journal, log_metric("a"), destination="http://there")
    assert nothing_due(journal)
    assert claim(journal, destination="http://there").destination == "http://there"
    assert journal.journal_unsettled(("run/a",)) == 1


def test_a_claimed_operation_shows_as_possibly_applied(journal: Journal) -> None:
    metric = log_metric("a")
    append(journal, metric)
    claimed = claim(journal)
    assert journal.journal_read(EntryQuery())[0].maybe_applied
    journal.journal_release(claimed, Release(untouched=(metric.op_id,)))
    assert not journal.journal_read(EntryQuery())[0].maybe_applied
    again = claim(journal)
    assert again.fence > claimed.fence
    assert not again.operations[0].maybe_applied
    journal.journal_release(again, Release())
    assert claim(journal).operations[0].maybe_applied


def test_an_untouched_operation_keeps_the_doubt_of_earlier_claims(journal: Journal) -> None:
    metric = log_metric("a")
    append(journal, metric)
    journal.journal_release(claim(journal), Release())
    journal.journal_release(claim(journal), Release(untouched=(metric.op_id,)))
    assert claim(journal).operations[0].maybe_applied


def test_a_lease_that_ran_out_lets_another_worker_in(
    journal: Journal, time_passes: TimePasses
) -> None:
    metric = log_metric("a")
    append(journal, metric)
    late = claim(journal, worker="late")
    time_passes(29)
    assert nothing_due(journal)
    time_passes(2)
    current = claim(journal, worker="next")
    assert current.fence > late.fence
    for attempt in (
        lambda: journal.journal_settle(late, (delivered(metric),)),
        lambda: journal.journal_renew(late),
        lambda: journal.journal_release(late, Release()),
    ):
        with pytest.raises(LeaseLostError, match="run/a"):
            attempt()
    assert states(journal) == {metric.op_id: "waiting"}
    assert journal.journal_settle(current, (delivered(metric),)) == 1


def test_renewing_and_settling_begin_the_lease_anew(
    journal: Journal, time_passes: TimePasses
) -> None:
    metrics = [log_metric("a", value) for value in range(2)]
    append(journal, *metrics)
    claimed = claim(journal)
    time_passes(20)
    assert journal.journal_renew(claimed)
    time_passes(20)
    assert journal.journal_settle(claimed, (delivered(metrics[0]),)) == 1
    time_passes(20)
    assert nothing_due(journal)
    assert journal.journal_settle(claimed, (delivered(metrics[1]),)) == 1


def test_a_released_claim_is_over(journal: Journal) -> None:
    metric = log_metric("a")
    append(journal, metric)
    claimed = claim(journal)
    assert journal.journal_release(claimed, Release())
    with pytest.raises(LeaseLostError):
        journal.journal_settle(claimed, (delivered(metric),))


def test_a_release_says_when_to_try_again_and_why(
    journal: Journal, time_passes: TimePasses
) -> None:
    metric = log_metric("a")
    append(journal, metric)
    journal.journal_release(
        claim(journal),
        Release(retry_in=60, error="HTTP 503", waiting_for="x", attempted=(metric.op_id,)),
    )
    (queued,) = journal.journal_read(EntryQuery())
    assert (queued.attempts, queued.error, queued.waiting_for) == (1, "HTTP 503", "x")
    backlog = journal.journal_backlog(HERE)
    (stream,) = backlog.streams
    assert (stream.error, stream.waiting_for, stream.waiting) == ("HTTP 503", "x", 1)
    assert 50 < stream.next_attempt_at - backlog.now <= 60
    append(journal, log_metric("a", 2))
    assert nothing_due(journal)
    time_passes(61)
    assert len(claim(journal).operations) == 2


def test_what_comes_after_everything_was_delivered_is_due_at_once(journal: Journal) -> None:
    metric = log_metric("a")
    append(journal, metric)
    claimed = claim(journal)
    journal.journal_settle(claimed, (delivered(metric),))
    journal.journal_release(claimed, Release(retry_in=600))
    assert nothing_due(journal)
    append(journal, log_metric("a", 2))
    assert claim(journal).fence == claimed.fence + 1


def test_settling_a_creation_writes_its_mapping(journal: Journal) -> None:
    run, metric = create_run(), log_metric("abc")
    append(journal, run)
    assert journal.journal_settle(claim(journal), (delivered(run, "r1"), delivered(metric))) == 1
    assert journal.journal_resolve((run.provisional_id, "hokusai-run-" + "0" * 32)) == {
        run.provisional_id: "r1"
    }
    assert journal.journal_aliases(("r1", "r2")) == {"r1": run.provisional_id}
    assert journal.journal_resolve(()) == {}
    assert journal.journal_aliases(()) == {}
    (queued,) = journal.journal_read(EntryQuery(states=("delivered",)))
    assert queued.primary_id == "r1"
    assert queued.settled_at is not None


def test_a_settlement_is_counted_once(journal: Journal) -> None:
    metrics = [log_metric("a", value) for value in range(3)]
    append(journal, *metrics)
    claimed = claim(journal)
    assert journal.journal_settle(claimed, (delivered(metrics[0]), dead(metrics[1]))) == 2
    assert journal.journal_settle(claimed, (delivered(metrics[0]), dead(metrics[1]))) == 0
    backlog = journal.journal_backlog("")
    assert (backlog.waiting, backlog.dead) == (1, 1)
    assert journal.journal_unsettled(("run/a", "run/b")) == 1


def test_a_thousand_operations_settle_at_once(journal: Journal) -> None:
    metrics = [log_metric("a", value) for value in range(1000)]
    assert append(journal, *metrics) == 1000
    claimed = claim(journal)
    assert op_ids(claimed) == [each.op_id for each in metrics]
    assert journal.journal_settle(claimed, tuple(map(delivered, metrics))) == 1000
    assert journal.journal_backlog("").waiting == 0


def test_an_operation_of_a_newer_release_is_left_alone(
    journal: Journal, database: Database
) -> None:
    metrics = [log_metric("a", value) for value in range(3)]
    append(journal, *metrics)
    with database.begin() as connection:
        connection.execute(
            update(operation_rows)
            .where(operation_rows.c.op_id == metrics[1].op_id)
            .values(kind="teleport", payload='{"kind": "teleport"}')
        )
    claimed = claim(journal)
    assert op_ids(claimed) == [metrics[0].op_id]
    journal.journal_settle(claimed, (delivered(metrics[0]),))
    journal.journal_release(claimed, Release())
    assert nothing_due(journal)
    unknown = journal.journal_read(EntryQuery())[0]
    assert (unknown.operation, unknown.kind) == (None, "teleport")
    assert "teleport" in journal.journal_backlog("").streams[0].waiting_for


def test_entries_are_selected_by_every_field(journal: Journal) -> None:
    run, metric, elsewhere = create_run(), log_metric("a"), log_metric("b")
    append(journal, run, metric)
    append(journal, elsewhere, destination="http://there")
    read = journal.journal_read
    assert len(read(EntryQuery())) == 3
    assert [each.op_id for each in read(EntryQuery(destination="http://there"))] == [
        elsewhere.op_id
    ]
    assert [each.op_id for each in read(EntryQuery(streams=("run/a",)))] == [metric.op_id]
    assert [each.op_id for each in read(EntryQuery(kinds=("create_run",)))] == [run.op_id]
    assert [each.op_id for each in read(EntryQuery(op_ids=(metric.op_id,)))] == [metric.op_id]
    first = read(EntryQuery(limit=1))
    assert len(first) == 1
    assert len(read(EntryQuery(after=first[0].sequence))) == 2
    assert read(EntryQuery(states=("dead",))) == ()
    assert len(read(EntryQuery(states=()))) == 3


def test_the_backlog_counts_all_and_lists_one_destination(journal: Journal) -> None:
    append(journal, log_metric("a"), log_metric("a", 2), log_metric("b"))
    append(journal, log_metric("c"), destination="http://there")
    backlog = journal.journal_backlog(HERE)
    assert backlog.waiting == 4
    assert backlog.by_destination == {HERE: 3, "http://there": 1}
    assert [(each.stream, each.waiting) for each in backlog.streams] == [("run/a", 2), ("run/b", 1)]
    assert len(journal.journal_backlog("").streams) == 3
    assert backlog.oldest_at is not None
    assert 0 <= backlog.now - backlog.oldest_at < 60


def test_at_most_a_hundred_streams_are_listed(journal: Journal) -> None:
    append(journal, *(log_metric(f"r{number}") for number in range(120)))
    backlog = journal.journal_backlog("")
    assert (len(backlog.streams), backlog.waiting) == (100, 120)


def test_hooks_are_harmless_to_repeat(journal: Journal) -> None:
    assert journal.journal_upgrade() == journal.journal_upgrade()
    assert journal.journal_close()
    assert append(journal, log_metric("a")) == 1
    assert journal.journal_close()
    assert journal.journal_backlog("").waiting == 1
