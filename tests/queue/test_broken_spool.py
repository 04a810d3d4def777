"""A spool that cannot be opened costs what is in it, and nothing of what the journal holds."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hokusai_core import ExperimentManager, JournalUnavailableError, Settings
from hokusai_core.cli import application
from hokusai_core.draining import Drain, DrainReport
from hokusai_core.hookspecs import Journal
from hokusai_core.status import status
from tests.queue.conftest import Job
from tests.support.mlflow_server import MlflowServer
from tests.support.waiting import wait_for


def damage_spool(folder: Path) -> None:
    (folder / "spool.db").write_bytes(bytes(range(256)) * 100)


@pytest.fixture
def job(make_job: Callable[..., Job], postgres_url: str, tmp_path: Path) -> Job:
    """A job with a run that waits in PostgreSQL; the spool beside it is damaged."""
    job = make_job(postgres_url)
    job.mock.down()
    job.manager.start_run().end()
    job.runtime.close_connections()
    damage_spool(tmp_path)
    return job


def test_a_drain_delivers_what_the_journal_holds(job: Job) -> None:
    report = job.drain()
    assert (report.delivered, report.left) == (3, 0)
    assert "spool.db" in report.spool_unreachable
    assert not report.complete


def test_a_job_delivers_what_the_journal_holds(
    make_job: Callable[..., Job], postgres_url: str, tmp_path: Path
) -> None:
    damage_spool(tmp_path)
    job = make_job(postgres_url, auto_sync=True, circuit_open_max_seconds=0.05)
    job.mock.down()
    job.manager.start_run().end()
    job.mock.up()
    assert wait_for(lambda: [run.info.status for run in job.mock.store.runs()] == ["FINISHED"])
    job.runtime.drainer.stop(5.0)


def test_status_tells_it_apart_from_the_journal(job: Job) -> None:
    found = status(job.settings, backend=job.mock)
    assert found.journal_reachable
    assert (found.waiting, found.spool_waiting) == (3, None)
    assert "spool.db" in found.spool_unreachable_because
    assert any("This machine's spool is away: " in problem for problem in found.problems)


def test_the_command_says_it_and_is_no_success(
    mlflow_server: MlflowServer,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", postgres_url)
    monkeypatch.setenv("HOKUSAI_DESTINATION", f"broken spool {tmp_path}")
    away = ExperimentManager(
        "spool", mlflow_tracking_uri="http://127.0.0.1:1", settings=Settings.load(auto_sync=False)
    )
    away.start_run().end()
    away.runtime.close_connections()
    damage_spool(tmp_path)
    arguments = ("sync", "--tracking-uri", mlflow_server.url, "--wait", "0")
    first = CliRunner().invoke(application, (*arguments, "--json"))
    figures = json.loads(first.stdout)
    assert (first.exit_code, figures["delivered"], figures["left"]) == (1, 3, 0)
    assert "spool.db" in figures["spool_unreachable"]
    second = CliRunner().invoke(application, arguments)
    assert second.exit_code == 1
    assert "What is in this machine's spool, if anything, stays there: " in second.output


class FailingFigures:
    """A journal whose figures cannot be had; all else is that of another one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> object:
        return getattr(self._journal, name)

    def journal_backlog(self, destination: str) -> None:
        raise JournalUnavailableError(f"The database restarts, asked for {destination}.")


def test_what_was_delivered_is_counted_where_the_journal_fails_then(
    make_job: Callable[..., Job],
) -> None:
    job = make_job()
    job.mock.down()
    job.manager.start_run().end()
    job.mock.up()
    assert wait_for(lambda: job.runtime.circuits.primary.seconds_until_probe() == 0)
    journal = job.runtime.fallback.journal
    drain = Drain(
        FailingFigures(journal),  # type: ignore[arg-type]
        job.runtime.destination,
        lambda: job.runtime._new_worker("test"),
        forward=lambda: None,
        left_elsewhere=lambda: 0,
        threads=1,
    )
    report = DrainReport()
    with pytest.raises(JournalUnavailableError):
        drain.run(wait_seconds=0.0, stop=threading.Event(), report=report)
    assert report.delivered == 3
