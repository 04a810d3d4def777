"""A person lists, shows, retries and discards, on every kind of journal."""

from collections.abc import Callable

import pytest

from hokusai_core import (
    InvalidInputError,
    NotFoundError,
    QueueEntry,
    RejectedError,
    StillNeededError,
    SyncQueue,
)
from hokusai_core.queue import ALL_STATES
from hokusai_core.run_handle import RunHandle
from tests.queue.conftest import Job

REFUSAL = RejectedError("The mock says no.")


def states(job: Job) -> dict[str, str]:
    return {entry.op_id: entry.state for entry in job.queue.entries(ALL_STATES, limit=1000)}


def sent(job: Job) -> list[str]:
    """The ids of the operations that the mock was asked to carry out, in order."""
    return [op_id for _, op_id in job.mock.calls if op_id]


def dead_run(job: Job) -> tuple[RunHandle, QueueEntry]:
    """A run that was begun and ended in an outage, whose creation is refused afterwards."""
    job.mock.down()
    with job.manager.start_run(run_name="refused") as run:
        run.log_metric("loss", 0.5, step=1)
        run.set_tag("stage", "one")
        with job.manager.start_run(run_name="child", nested=True) as child:
            child.log_metric("loss", 0.25)
    job.mock.reject("create_run", REFUSAL)
    job.drain()
    (entry,) = [each for each in job.queue.entries() if each.stream == f"run/{run.run_id}"]
    return run, entry


def test_a_refused_creation_is_listed_with_its_reason(job: Job) -> None:
    run, entry = dead_run(job)
    assert (entry.kind, entry.state, entry.place) == ("create_run", "dead", "journal")
    assert entry.stream == f"run/{run.run_id}"
    assert entry.destination == job.queue.destination
    assert entry.attempts >= 1
    assert entry.reason == str(REFUSAL)
    assert entry.next_attempt_seconds is None
    held = job.queue.entries(("waiting",), stream=entry.stream)
    assert held
    assert held[0].waiting_for == f"id/{run.run_id}"
    assert held[0].reason == f"waiting for {run.run_id}"
    assert held[0].next_attempt_seconds is not None
    assert len(job.queue.entries(("waiting",), limit=1)) == 1
    assert job.queue.entries(destination="somewhere else") == ()


def test_one_operation_is_shown_with_what_depends_on_it(job: Job) -> None:
    _, entry = dead_run(job)
    shown = job.queue.show(entry.op_id)
    assert shown.payload is not None
    assert shown.payload["run_name"] == "refused"
    assert shown.error == str(REFUSAL)
    needed = {each.op_id: each for each in shown.dependents}
    waiting = job.queue.entries(("waiting",), limit=1000)
    assert set(needed) == {each.op_id for each in waiting}
    assert len({each.stream for each in needed.values()}) == 2


def test_a_retry_delivers_the_stream_in_order(job: Job) -> None:
    run, entry = dead_run(job)
    expected = [each.op_id for each in job.queue.entries(("waiting",), limit=1000)]
    job.mock.accept("create_run")
    job.mock.calls.clear()
    assert job.queue.retry([entry.op_id]) == 1
    assert job.drain(wait_seconds=20).complete
    assert set(states(job).values()) == {"delivered"}
    own = [op_id for op_id in sent(job) if op_id in {entry.op_id, *expected}]
    assert own[0] == entry.op_id
    found = job.manager.get_run(run.run_id)
    assert found.data.metrics == {"loss": 0.5}
    assert found.data.tags["stage"] == "one"
    assert found.info.status == "FINISHED"
    assert len(job.manager.search_runs()) == 2


def test_all_dead_letters_wait_again(job: Job) -> None:
    dead_run(job)
    job.mock.accept("create_run")
    assert job.queue.retry_all(destination="somewhere else") == 0
    assert job.queue.retry_all() == 1
    assert job.queue.retry_all() == 0
    assert job.drain(wait_seconds=20).complete
    assert job.queue.entries() == ()


def test_what_others_need_is_not_discarded_by_accident(job: Job) -> None:
    _, entry = dead_run(job)
    before = states(job)
    with pytest.raises(StillNeededError) as refusal:
        job.queue.discard([entry.op_id])
    assert states(job) == before
    needed = {op_id for op_id, state in before.items() if state == "waiting"}
    assert set(refusal.value.op_ids) == needed
    assert job.queue.discard([entry.op_id], force=True) == 1 + len(needed)
    assert {states(job)[op_id] for op_id in (entry.op_id, *needed)} == {"discarded"}
    assert job.drain().complete
    assert job.manager.search_runs() == []


def test_what_nobody_needs_is_discarded_at_once(job: Job) -> None:
    run = job.manager.start_run(run_name="direct")
    job.mock.down()
    run.log_metric("loss", 0.5)
    run.log_metric("loss", 0.25, step=1)
    first, _ = job.queue.entries(("waiting",))
    assert job.queue.discard([first.op_id]) == 1
    job.drain()
    assert [point.value for point in job.manager.get_metric_history(run.run_id, "loss")] == [0.25]
    with pytest.raises(InvalidInputError, match=f"{first.op_id} is discarded"):
        job.queue.discard([first.op_id])


def test_unknown_and_unfit_operations_are_refused_as_a_whole(job: Job) -> None:
    _, entry = dead_run(job)
    (waiting, *_) = job.queue.entries(("waiting",))
    before = states(job)
    with pytest.raises(NotFoundError, match="f" * 32):
        job.queue.retry([entry.op_id, "f" * 32])
    with pytest.raises(InvalidInputError, match=f"{waiting.op_id} is waiting"):
        job.queue.retry([entry.op_id, waiting.op_id])
    with pytest.raises(InvalidInputError, match="collection of ids"):
        job.queue.retry(entry.op_id)
    with pytest.raises(NotFoundError):
        job.queue.show("f" * 32)
    assert states(job) == before
    assert job.queue.retry([]) == 0


def test_without_a_fallback_there_is_no_queue(make_job: Callable[..., Job]) -> None:
    job = make_job(fallback="none")
    with pytest.raises(ValueError, match="HOKUSAI_FALLBACK=none"):
        SyncQueue(job.settings, backend=job.mock)
