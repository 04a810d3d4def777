"""What was retried never writes over what was decided later."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hokusai_core import RejectedError
from hokusai_core.queue import ALL_STATES
from hokusai_core.run_handle import RunHandle
from tests.queue.conftest import Job

REFUSAL = RejectedError("The mock says no.")
Write = Callable[[RunHandle], object]


def refused_then_later(job: Job, kind: str, first: Write, later: Write) -> tuple[RunHandle, str]:
    """Let one write become a dead letter, and a later one of the run be delivered."""
    run = job.manager.start_run(run_name="direct")
    job.mock.down()
    first(run)
    job.mock.reject(kind, REFUSAL)
    job.drain()
    (dead,) = job.queue.entries()
    job.mock.accept(kind)
    job.mock.down()
    later(run)
    assert job.drain(wait_seconds=20).complete
    return run, dead.op_id


def state_of(job: Job, op_id: str) -> str:
    return next(e.state for e in job.queue.entries(ALL_STATES, limit=1000) if e.op_id == op_id)


def retried(job: Job, op_id: str) -> str:
    assert job.queue.retry([op_id]) == 1
    assert job.drain(wait_seconds=20).complete
    return state_of(job, op_id)


def test_a_later_tag_stays(job: Job) -> None:
    run, op_id = refused_then_later(
        job,
        "log_batch",
        lambda run: run.set_tag("stage", "early"),
        lambda run: run.set_tag("stage", "late"),
    )
    job.mock.calls.clear()
    assert retried(job, op_id) == "superseded"
    assert op_id not in [sent for _, sent in job.mock.calls]
    assert job.manager.get_run(run.run_id).data.tags["stage"] == "late"


def test_what_nobody_decided_since_is_delivered(job: Job) -> None:
    run, op_id = refused_then_later(
        job,
        "log_batch",
        lambda run: run.set_tags({"stage": "early", "team": "a"}),
        lambda run: run.set_tag("stage", "late"),
    )
    assert retried(job, op_id) == "delivered"
    tags = job.manager.get_run(run.run_id).data.tags
    assert (tags["stage"], tags["team"]) == ("late", "a")


def test_points_are_never_superseded(job: Job) -> None:
    run, op_id = refused_then_later(
        job,
        "log_batch",
        lambda run: run.log_metric("loss", 0.5, step=0),
        lambda run: run.log_metric("loss", 0.25, step=1),
    )
    assert retried(job, op_id) == "delivered"
    history = job.manager.get_metric_history(run.run_id, "loss")
    assert [point.value for point in history] == [0.5, 0.25]


def test_a_later_status_stays(job: Job) -> None:
    run, op_id = refused_then_later(
        job,
        "update_run",
        lambda run: run.end("FAILED"),
        lambda run: job.manager.start_run(run_id=run.run_id).end("FINISHED"),
    )
    assert retried(job, op_id) == "superseded"
    assert job.manager.get_run(run.run_id).info.status == "FINISHED"


def test_a_later_file_stays(job: Job, tmp_path: Path) -> None:
    run, op_id = refused_then_later(
        job,
        "log_artifact",
        lambda run: run.log_text("early", "notes.txt"),
        lambda run: run.log_text("late", "notes.txt"),
    )
    assert retried(job, op_id) == "superseded"
    assert run.download_artifacts("notes.txt", tmp_path).read_text() == "late"


@pytest.mark.parametrize("direct", [True, False], ids=["delivered at once", "queued"])
def test_a_later_alias_stays(job: Job, direct: bool) -> None:
    """Also one that was moved while the primary was well: registry writes are noted."""
    registry = job.registry
    for _ in range(3):
        registry.register_model("s3://bucket/model", "model")
    job.mock.down()
    registry.set_alias("model", "production", 1)
    job.mock.reject("set_alias", REFUSAL)
    job.drain()
    (dead,) = job.queue.entries()
    job.mock.accept("set_alias")
    if not direct:
        job.mock.down()
    registry.set_alias("model", "production", 2)
    job.drain(wait_seconds=20)
    assert retried(job, dead.op_id) == "superseded"
    assert registry.get_model_version_by_alias("model", "production").version == "2"


def test_the_first_of_two_dead_letters_is_not_superseded_by_the_other(job: Job) -> None:
    """Both are retried: the later one is delivered after the first, as they were written."""
    run = job.manager.start_run(run_name="direct")
    job.mock.down()
    run.set_tag("stage", "early")
    run.set_tag("stage", "late")
    job.mock.reject("log_batch", REFUSAL)
    job.drain()
    job.mock.accept("log_batch")
    assert job.queue.retry_all() == 2
    assert job.drain(wait_seconds=20).complete
    assert job.manager.get_run(run.run_id).data.tags["stage"] == "late"
