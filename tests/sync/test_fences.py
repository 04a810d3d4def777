"""A worker is paused past its lease; another one takes its stream; then the first goes on."""

import signal
from pathlib import Path
from typing import Any

import pytest

from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import UnavailableError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Claim, ClaimRequest, EntryQuery
from hokusai_core.operations import CreateRun
from tests.support.mlflow_server import MlflowServer
from tests.support.sql_fixtures import DATABASES
from tests.sync.test_worker import Bench
from tests.sync.worker_process import Job, Point, Workers
from tests.sync.workload import Workload, destination_settings

PAUSED = {"lease_seconds": 2.0, "late_effect_seconds": 0.5, "write_timeout": 0.9}
"""The first worker's lease has room for a request whenever it sends one, as in real life."""


LOST, NO_TIME = "LeaseLostError", "UnavailableError"
CASES = [
    # Between send and settle.
    (Point("journal", "journal_settle", "before", 2), LOST, "postgresql"),
    (Point("primary", "tracking_create_run", "after"), "", "sqlite"),
    (Point("primary", "registry_create_model_version", "after"), "", ""),
    # Between claim and send.
    (Point("journal", "journal_claim", "after", 2), "", ""),
    (Point("primary", "tracking_create_run", "before"), NO_TIME, "postgresql"),
    (Point("primary", "registry_create_model_version", "before"), NO_TIME, ""),
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


@pytest.mark.parametrize("maybe_applied", [False, True])
def test_a_pause_right_after_the_look_at_the_lease_leaves_no_time_to_send(
    maybe_applied: bool,
) -> None:
    bench = Bench()
    left: list[float] = []
    run = CreateRun(experiment_id="0", run_name="r", start_time=1)
    bench.append(run, maybe_applied=maybe_applied)
    hooks: Any = bench.worker._journal
    claim, renew = hooks.journal_claim, hooks.journal_renew

    def claim_slowly(request: ClaimRequest) -> tuple[Claim, ...]:
        claims: tuple[Claim, ...] = claim(request)
        bench.clock.advance(bench.settings.lease_seconds * 0.6)
        return claims

    def renew_and_pause(claimed: Claim) -> bool:
        renewed: bool = renew(claimed)
        bench.clock.advance(bench.settings.lease_seconds * 2)
        return renewed

    def create(operation: CreateRun, deadline: Deadline) -> Receipt:
        left.append(deadline.remaining())
        raise UnavailableError("No time was left.")

    hooks.journal_claim, hooks.journal_renew = claim_slowly, renew_and_pause
    primary: Any = bench.primary.tracking
    primary.tracking_create_run = create
    bench.worker.run_once()
    assert left == [0.0]
