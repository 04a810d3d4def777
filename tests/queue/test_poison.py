"""An operation that a server breaks on each time ends as a dead letter; a sick server makes none."""

from collections.abc import Callable

import pytest

from hokusai_core import sync
from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import UnavailableError
from hokusai_core.markers import hookimpl
from hokusai_core.operations import LogBatch
from hokusai_core.testing import MockBackend
from tests.queue.conftest import Job

MOST = 5


class BreakingBackend(MockBackend):
    """Answers 500 to batches with the metric ``poison``, or to all of them."""

    read_only = False

    @hookimpl
    def tracking_log_batch(self, operation: LogBatch, deadline: Deadline) -> Receipt:
        if self.read_only or any(point.key == "poison" for point in operation.metrics):
            raise UnavailableError("HTTP 500", maybe_applied=True)
        return super().tracking_log_batch(operation, deadline)


@pytest.fixture
def breaking(
    make_job: Callable[..., Job], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Job, BreakingBackend]:
    monkeypatch.setattr(sync, "_BACKOFF_BASE_SECONDS", 0.001)
    job = make_job(sqlite_url, max_attempts=MOST)
    mock = BreakingBackend()
    return Job(mock, job.settings), mock


def queue_metric(job: Job, key: str) -> str:
    """Log one metric of a run of its own, in an outage."""
    job.mock.down()
    with job.manager.start_run(run_name=key) as run:
        run.log_metric(key, 0.5)
    return run.run_id


def test_what_breaks_the_server_is_given_up_while_others_get_through(
    breaking: tuple[Job, BreakingBackend],
) -> None:
    job, _ = breaking
    try:
        run_id = queue_metric(job, "poison")
        for number in range(20):
            queue_metric(job, f"good {number}")
            job.drain(wait_seconds=0.05)
            if job.queue.entries():
                break
        (letter,) = job.queue.entries()
        assert (letter.kind, letter.stream) == ("log_batch", f"run/{run_id}")
        assert letter.attempts >= MOST
        assert "HTTP 500" in letter.error
        job.drain(wait_seconds=1)
        assert job.manager.get_run(run_id).info.status == "FINISHED"
    finally:
        job.runtime.close_connections()


def test_a_read_only_server_condemns_nobody(breaking: tuple[Job, BreakingBackend]) -> None:
    job, mock = breaking
    try:
        mock.read_only = True
        run_ids = [queue_metric(job, f"good {number}") for number in range(3)]
        for _ in range(3 * MOST):
            job.drain(wait_seconds=0.05)
        waiting = job.queue.entries(("waiting",))
        assert max(entry.attempts for entry in waiting) > MOST
        assert job.queue.entries() == ()
        mock.read_only = False
        assert job.drain(wait_seconds=20).complete
        for run_id in run_ids:
            assert len(job.manager.get_run(run_id).data.metrics) == 1
    finally:
        job.runtime.close_connections()
