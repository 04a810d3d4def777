"""An upload may take longer than a lease, with no byte of ours read meanwhile."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from hokusai_core import lease_keeping
from hokusai_core.errors import JournalUnavailableError, LeaseLostError
from hokusai_core.lease_keeping import kept_meanwhile, upload_limit
from hokusai_core.testing import MockBackend
from tests.queue.conftest import Job, make_job
from tests.support.waiting import wait_for

__all__ = ["make_job"]

LEASE_SECONDS = 1.0
UPLOAD_SECONDS = 4.0


class SlowStore(MockBackend):
    """Reads an artifact's bytes at once, and takes long to come back, as an object store's client."""

    uploads = 0

    def _apply(self, operation: Any, open_content: Any = None) -> Any:
        receipt = super()._apply(operation, open_content)
        if operation.kind == "log_artifact":
            self.uploads += 1
            time.sleep(UPLOAD_SECONDS)
        return receipt


def test_an_upload_longer_than_the_lease_is_made_once(
    make_job: Callable[..., Job], sqlite_url: str
) -> None:
    settings = make_job(
        sqlite_url,
        lease_seconds=LEASE_SECONDS,
        write_timeout=LEASE_SECONDS / 2,
        artifact_idle_timeout=LEASE_SECONDS / 2,
    ).settings
    mock = SlowStore()
    job = Job(mock, settings)
    run = job.manager.start_run(run_name="direct")
    mock.down()
    run.log_text("hello", "a.txt")
    drains = [threading.Thread(target=job.drain, args=(20.0,)) for _ in range(2)]
    drains[0].start()
    assert wait_for(lambda: mock.uploads > 0)
    drains[1].start()
    for drain in drains:
        drain.join()
    assert mock.uploads == 1
    assert job.queue.waiting() == {}
    job.runtime.close_connections()


@pytest.fixture
def calls() -> list[float]:
    return []


def test_the_lease_is_kept_only_for_so_long(calls: list[float]) -> None:
    with kept_meanwhile(lambda: calls.append(time.monotonic()), 0.01, at_most_seconds=0.1):
        time.sleep(0.5)
    assert calls
    assert calls[-1] - calls[0] < 0.2


def test_nothing_is_renewed_after_the_call(calls: list[float]) -> None:
    def upload() -> None:
        with kept_meanwhile(lambda: calls.append(time.monotonic()), 0.01, at_most_seconds=10):
            assert wait_for(lambda: calls)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload()
    count = len(calls)
    time.sleep(0.1)
    assert len(calls) == count


@pytest.mark.parametrize(
    ("failure", "most"),
    [(LeaseLostError("lost"), 1), (JournalUnavailableError("away"), 1000)],
)
def test_a_renewal_that_fails_disturbs_nothing(
    calls: list[float], failure: Exception, most: int
) -> None:
    def fail() -> None:
        calls.append(time.monotonic())
        raise failure

    with kept_meanwhile(fail, 0.01, at_most_seconds=10):
        time.sleep(0.2)
    assert (len(calls) > 1) is (most > 1)


def test_large_files_have_longer() -> None:
    assert upload_limit(0) == lease_keeping._SHORTEST_LIMIT_SECONDS
    assert upload_limit(4 * 1024**3) > 4 * 3600
