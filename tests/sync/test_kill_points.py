"""A worker is ended with SIGKILL at every step of the protocol; another one finishes its work.

Nothing is lost and nothing is there twice: counted on a real server and in the journal.
"""

import signal
from pathlib import Path

import pytest

from tests.support.mlflow_server import MlflowServer
from tests.sync.worker_process import Job, Point, Workers
from tests.sync.workload import Workload, destination_settings

VICTIM = {"lease_seconds": 0.4, "late_effect_seconds": 0.4}
"""The victim's claims end soon. It is alone while it lives, so nobody takes them too early."""

CLAIMING = [
    Point("journal", "journal_claim", "before"),
    Point("journal", "journal_claim", "after"),
    Point("journal", "journal_claim", "after", 2),
    Point("journal", "journal_claim", "after", 4),
]
SENDING = [
    Point("primary", hook, moment)
    for hook in (
        "tracking_create_experiment",
        "tracking_create_run",
        "tracking_log_batch",
        "tracking_update_run",
        "tracking_log_artifact",
        "tracking_create_logged_model",
        "tracking_finalize_logged_model",
        "registry_create_registered_model",
        "registry_create_model_version",
        "registry_set_model_version_tags",
        "registry_set_alias",
    )
    for moment in ("before", "after")
]
BETWEEN = [
    Point("primary", "tracking_log_batch", "before", 2),
    Point("primary", "tracking_log_batch", "after", 2),
    Point("journal", "journal_open_content", "reading", 2),
    Point("journal", "journal_open_content", "reading", 4),
]
SETTLING = [
    Point("journal", "journal_settle", moment, count)
    for moment in ("before", "after")
    for count in (1, 3)
] + [Point("journal", "journal_release", "before"), Point("journal", "journal_release", "after")]


@pytest.mark.parametrize("point", [*CLAIMING, *SENDING, *BETWEEN, *SETTLING], ids=str)
def test_another_worker_finishes_exactly(
    point: Point,
    mlflow_server: MlflowServer,
    database_url: str,
    workers: Workers,
    tmp_path: Path,
) -> None:
    settings = destination_settings(tmp_path / "data", database_url)
    workload = Workload()
    workload.write(settings, tmp_path)
    victim = workers.start(Job(mlflow_server.url, settings | VICTIM, point, wait_seconds=30))
    assert victim.ended_by() == -signal.SIGKILL
    successor = workers.start(Job(mlflow_server.url, settings, wait_seconds=30))
    outcome = successor.outcome()
    assert (outcome.dead, outcome.left) == (0, 0), outcome.reasons
    workload.check(mlflow_server.url, settings, tmp_path)
