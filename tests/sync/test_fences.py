"""A worker is paused past its lease; another one takes its stream; then the first goes on."""

import signal
from pathlib import Path

import pytest

from hokusai_core.hookspecs import Journal
from hokusai_core.journal import EntryQuery
from tests.support.mlflow_server import MlflowServer
from tests.support.sql_fixtures import DATABASES
from tests.sync.worker_process import Job, Point, Workers
from tests.sync.workload import Workload, destination_settings

PAUSED = {"lease_seconds": 2.0, "late_effect_seconds": 0.5, "write_timeout": 0.9}
"""The first worker's lease has room for a request whenever it sends one, as in real life."""


LOST, NO_TIME = "LeaseLostError", "UnavailableError"
CASES = [
    # Between send and settle.
    (Point("journal", "journal_settle", "before", 2), LOST, "sqlite postgresql"),
    (Point("primary", "tracking_create_run", "after"), "", "sqlite"),
    (Point("primary", "registry_create_model_version", "after"), "", ""),
    # Between claim and send.
    (Point("journal", "journal_claim", "after", 2), "", ""),
    (Point("primary", "tracking_create_run", "before"), NO_TIME, "postgresql"),
    (Point("primary", "registry_create_model_version", "before"), NO_TIME, "sqlite"),
]
"""Where the worker is paused, what it meets there in the end, and the journals that are not soaked."""


@pytest.mark.parametrize(
    ("database_url", "point", "error"),
    [
        pytest.param(
            database,
            point,
            error,
            id=f"{database}-{point}",
            marks=() if database in quick else pytest.mark.soak,
        )
        for point, error, quick in CASES
        for database in DATABASES
    ],
    indirect=["database_url"],
)
def test_what_a_paused_worker_does_late_is_void(
    point: Point,
    error: str,
    mlflow_server: MlflowServer,
    database_url: str,
    journal: Journal,
    workers: Workers,
    tmp_path: Path,
) -> None:
    settings = destination_settings(tmp_path / "data", database_url)
    load = Workload()
    load.write(settings, tmp_path)
    first = workers.start(
        Job(mlflow_server.url, settings | PAUSED, point, signal.SIGSTOP, wait_seconds=30)
    )
    first.wait_until_paused()
    second = workers.start(Job(mlflow_server.url, settings, wait_seconds=30))
    outcome = second.outcome()
    assert (outcome.dead, outcome.left) == (0, 0), outcome.reasons
    before = journal.journal_read(EntryQuery(states=("delivered",)))
    assert first.alive
    first.resume()
    resumed = first.outcome()
    assert (resumed.after_point, resumed.dead, resumed.left) == (error, 0, 0)
    assert resumed.delivered + outcome.delivered == load.operations
    assert journal.journal_read(EntryQuery(states=("delivered",))) == before
    load.check(mlflow_server.url, settings, tmp_path)
