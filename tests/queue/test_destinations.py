"""What waits for one server is never sent to another, unless a person says that it moved."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hokusai_core import (
    ExperimentManager,
    InvalidInputError,
    JournalBusyError,
    NotFoundError,
    Settings,
    SyncQueue,
)
from hokusai_core.destinations import PlannedMove
from hokusai_core.journal import ClaimRequest, Entry, Release
from hokusai_core.machine import machine_id
from hokusai_core.operations import LogBatch
from tests.queue.conftest import Job

URLS = ("sqlite_url", "postgres_url")


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def log_in_an_outage(job: Job) -> str:
    job.mock.down()
    with job.manager.start_run(run_name="waits") as run:
        run.log_metric("loss", 0.5)
        run.set_tag("stage", "one")
    return run.run_id


def another_manager(job: Job) -> ExperimentManager:
    return ExperimentManager("queue", backend=job.mock, settings=job.settings)


def test_workers_of_one_server_leave_the_rows_of_another(
    make_job: Callable[..., Job], url: str
) -> None:
    old, new = make_job(url), make_job(url)
    log_in_an_outage(old)
    report = new.drain()
    assert report.complete
    assert report.others == {old.queue.destination: new.queue.waiting()[old.queue.destination]}
    assert [op_id for _, op_id in new.mock.calls if op_id] == []
    assert old.drain(wait_seconds=20).complete
    assert len(old.manager.search_runs()) == 1
    assert new.manager.search_runs() == []


def test_a_backlog_follows_its_server(make_job: Callable[..., Job], url: str) -> None:
    old, new = make_job(url), make_job(url)
    run_id = log_in_an_outage(old)
    waiting = old.queue.waiting()[old.queue.destination]
    assert new.queue.move(old.queue.destination) == waiting
    assert new.queue.move(old.queue.destination) == 0
    assert new.queue.waiting() == {new.queue.destination: waiting}
    old.mock.calls.clear()
    assert old.drain().complete
    assert new.drain(wait_seconds=20).complete
    assert [op_id for _, op_id in old.mock.calls if op_id] == []
    found = new.manager.get_run(run_id)
    assert found.data.metrics == {"loss": 0.5}
    assert found.info.status == "FINISHED"
    assert len(new.manager.search_runs()) == 1


def test_what_was_written_for_both_is_one_stream_afterwards(
    make_job: Callable[..., Job], url: str
) -> None:
    """A job that was restarted with the new address writes to the model of the old one."""
    old, new = make_job(url), make_job(url)
    for number, job in enumerate((old, new)):
        job.mock.down()
        job.registry.register_model(f"s3://bucket/{number}", "model", tags={"n": str(number)})
        job.registry.set_registered_model_tags("model", {"owner": str(number)})
    new.queue.move(old.queue.destination)
    assert new.drain(wait_seconds=20).complete
    assert new.registry.get_registered_model("model").tags["owner"] == "1"
    versions = new.registry.search_model_versions("model")
    assert sorted(version.tags["n"] for version in versions) == ["0", "1"]


def test_nothing_moves_while_a_worker_delivers(make_job: Callable[..., Job], url: str) -> None:
    old, new = make_job(url), make_job(url)
    log_in_an_outage(old)
    assert old.runtime.fallback is not None
    journal = old.runtime.fallback.journal
    request = ClaimRequest(destination=old.queue.destination, worker="somebody")
    (claim,) = journal.journal_claim(request)
    with pytest.raises(JournalBusyError, match="somebody"):
        new.queue.move(old.queue.destination)
    journal.journal_release(
        claim, Release(untouched=tuple(entry.op_id for entry in claim.operations))
    )
    assert new.queue.move(old.queue.destination) > 0


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[SyncQueue]:
    """A queue of a server with a journal of its own, in which something waits for http://old."""
    settings = Settings.load(data_dir=tmp_path, auto_sync=False, durability="process")
    opened = SyncQueue(settings, tracking_uri="http://127.0.0.1:1")
    log = LogBatch(run_id="a" * 32, tags={"stage": "one"})
    assert opened._runtime.fallback is not None
    opened._runtime.fallback.append(Entry(log, "http://old"), None, None)
    yield opened
    opened._runtime.close_connections()


HERE = f"http://localhost:5000@{machine_id()}"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://new:5000", "http://new:5000"),
        (" HTTP://anna:secret@New:5000/?token=secret ", "http://new:5000"),
        ("https://new:443/", "https://new"),
        ("http://localhost:5000/", HERE),
        (HERE, HERE),
        ("http://localhost:5000@0123456789ab", "http://localhost:5000@0123456789ab"),
        ("http://new/ registry=http://anna:secret@New:1/", "http://new registry=http://new:1"),
        ("postgresql://anna:secret@Db/mlflow", "postgresql://db/mlflow"),
        ("unknown://anna:secret@host/path", "unknown://host/path"),
        ("main", "main"),
    ],
)
def test_what_is_moved_waits_under_the_name_that_a_worker_has(
    queue: SyncQueue, written: str, meant: str
) -> None:
    planned = queue.planned_move("http://old", written)
    assert (planned.source, planned.target, planned.target_known) == ("http://old", meant, False)
    assert queue.move("http://anna:secret@OLD/", written) == 1
    assert queue.waiting() == {meant: 1}


def test_the_servers_of_the_settings_and_of_the_journal_are_known(queue: SyncQueue) -> None:
    for target in ("", queue.destination, "http://127.0.0.1:1/"):
        planned = queue.planned_move("HTTP://old", target)
        assert planned == PlannedMove(
            source="http://old", target=queue.destination, source_known=True, target_known=True
        )
    queue.move("http://old")
    planned = queue.planned_move("http://127.0.0.1:1", "http://other")
    assert (planned.source, planned.target_known) == (queue.destination, False)
    queue.move("http://127.0.0.1:1", "http://other")
    queue.discard([entry.op_id for entry in queue.entries(("waiting",))])
    with pytest.raises(NotFoundError, match="no entry of http://old"):
        queue.planned_move("http://old")
    assert queue.planned_move("http://other", "").target == queue.destination


@pytest.mark.parametrize(
    ("source", "target"), [("", ""), (" ", "http://new"), ("http://old", "http://OLD/")]
)
def test_a_move_from_nowhere_or_to_the_same_place_is_refused(
    queue: SyncQueue, source: str, target: str
) -> None:
    with pytest.raises(InvalidInputError):
        queue.planned_move(source, target)


def test_a_named_destination_needs_no_move(tmp_path: Path) -> None:
    """With HOKUSAI_DESTINATION the address may change."""
    settings = Settings.load(data_dir=tmp_path, auto_sync=False, destination="main")
    before = ExperimentManager("named", mlflow_tracking_uri="http://127.0.0.1:1", settings=settings)
    before.start_run(run_name="waits").end()
    after = SyncQueue(settings, tracking_uri="http://127.0.0.1:2")
    try:
        assert after.destination == "main"
        assert set(after.waiting()) == {"main"}
        assert before.runtime is not after._runtime
    finally:
        before.runtime.close_connections()
        after._runtime.close_connections()


def test_appends_and_moves_at_the_same_time_lose_nothing(
    make_job: Callable[..., Job], url: str
) -> None:
    """Each append is on one side or the other, with its stream's figures right."""
    old, new = make_job(url, journal_timeout=30.0), make_job(url, journal_timeout=30.0)
    old.mock.down()
    runs = [another_manager(old).start_run(run_name=f"run {number}") for number in range(2)]
    done = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for step in range(8):
                for run in runs:
                    run.log_metric("loss", float(step), step=step)
                another_manager(old).start_run(run_name=f"new {step}").end()
        except BaseException as failure:  # noqa: BLE001 - handed to the test
            failures.append(failure)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.wait(0.02):
        new.queue.move(old.queue.destination)
    writer.join()
    assert failures == []
    for run in runs:
        run.end()
    new.queue.move(old.queue.destination)
    assert set(new.queue.waiting()) == {new.queue.destination}
    assert new.drain(wait_seconds=30).complete
    found = new.manager.search_runs(max_results=1000)
    assert len(found) == 10
    for run in runs:
        assert len(new.manager.get_metric_history(run.run_id, "loss")) == 8
