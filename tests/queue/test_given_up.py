"""What was given up after server errors may take effect late, unlike what was refused."""

from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Claim, Release, Settlement
from hokusai_core.operations import CreateExperiment, CreateRun, Operation
from tests.queue.conftest import Job
from tests.sql.queueing import (
    append,
    claim,
    create_run,
    log_metric,
    nothing_due,
    op_ids,
    request,
)
from tests.support.waiting import wait_for
from tests.sync.test_worker import Bench

WINDOW = 1.0


def settled_dead_and_retried(journal: Journal, operation: Operation, *, late: bool) -> None:
    append(journal, operation)
    claimed = claim(journal, late_effect_seconds=WINDOW)
    settlement = Settlement(operation.op_id, "dead", error="HTTP 504", late=late)
    journal.journal_settle(claimed, (settlement,))
    journal.journal_release(claimed, Release())
    assert journal.journal_retry((operation.op_id,)) == 1


def test_a_retry_waits_out_the_window(job: Job) -> None:
    assert job.runtime.fallback
    journal = job.runtime.fallback.journal
    refused, harmless, given_up = create_run(), log_metric("other"), create_run("given up")
    settled_dead_and_retried(journal, refused, late=False)
    assert op_ids(claim(journal)) == [refused.op_id]
    settled_dead_and_retried(journal, harmless, late=True)
    assert op_ids(claim(journal)) == [harmless.op_id]
    settled_dead_and_retried(journal, given_up, late=True)
    assert nothing_due(journal)
    claims: list[Claim] = []

    def claimed() -> bool:
        claims.extend(journal.journal_claim(request()))
        return bool(claims)

    assert wait_for(claimed)
    (entry,) = claims[0].operations
    assert (entry.op_id, entry.maybe_applied) == (given_up.op_id, True)


def test_a_creation_that_was_given_up_and_lands_late_is_not_made_again() -> None:
    bench = Bench()
    other = CreateExperiment(name="e")
    bench.append(other)
    bench.steps()
    run = CreateRun(experiment_id=other.provisional_id or "", run_name="r", start_time=1)
    bench.append(run)
    bench.poison.is_poison = lambda *_: True  # type: ignore[method-assign]
    bench.mock.delay_effect(1)
    bench.steps()
    assert [entry.op_id for entry in bench.entries("dead")] == [run.op_id]
    bench.journal.journal_retry((run.op_id,))
    bench.steps(5)
    assert bench.sent("tracking_create_run") == 1
    bench.mock.land_late_effects()
    bench.steps(70)
    assert bench.entries("waiting", "dead") == []
    assert bench.sent("tracking_create_run") == 1
    assert len(bench.mock.store.runs()) == 1
