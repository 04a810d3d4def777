"""Every way of delivering also deletes what is old, in journal and spool."""

import threading
from collections.abc import Callable

import pytest

from hokusai_core.queue import ALL_STATES
from tests.queue.conftest import Job
from tests.support.waiting import wait_for


@pytest.fixture
def forgetful(make_job: Callable[..., Job], sqlite_url: str) -> Callable[..., Job]:
    """Makes jobs whose entries are old as soon as they are settled."""
    return lambda **values: make_job(sqlite_url, retention_seconds=0.0, **values)


def log_in_an_outage(job: Job) -> str:
    job.mock.down()
    with job.manager.start_run(run_name="old") as run:
        run.log_metric("loss", 0.5)
    return run.run_id


def test_a_drain_ends_with_pruning(forgetful: Callable[..., Job]) -> None:
    job = forgetful()
    run_id = log_in_an_outage(job)
    assert job.drain(wait_seconds=20).complete
    assert job.queue.entries(ALL_STATES) == ()
    assert job.manager.get_run(run_id).data.metrics == {"loss": 0.5}


def test_the_background_drainer_prunes_when_all_is_delivered(
    forgetful: Callable[..., Job],
) -> None:
    job = forgetful(auto_sync=True)
    run_id = log_in_an_outage(job)
    job.mock.up()
    try:
        assert wait_for(lambda: job.queue.entries(ALL_STATES) == (), 30)
        assert job.manager.get_run(run_id).data.metrics == {"loss": 0.5}
    finally:
        job.runtime.drainer.stop(5.0)


def test_a_watch_prunes_once_an_hour(forgetful: Callable[..., Job]) -> None:
    """One drain is run again and again; only its first run prunes."""
    job = forgetful()
    log_in_an_outage(job)
    drain = job.runtime.drain()
    assert drain.run(wait_seconds=0, stop=threading.Event()).left > 0
    assert job.drain(wait_seconds=20).complete
    assert {entry.state for entry in job.queue.entries(ALL_STATES)} == {"delivered"}
