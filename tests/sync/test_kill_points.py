"""A worker is ended with SIGKILL at every step of the protocol; another one finishes its work.

Nothing is lost and nothing is there twice: counted on a real server and in the journal. What is
marked ``soak`` tries every step with every journal; without it, every kind of step is tried once.
"""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.late_proxy import LateProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.ports import free_port
from tests.support.sql_fixtures import DATABASES
from tests.sync.worker_process import Job, Point, Workers
from tests.sync.workload import Workload, destination_settings

VICTIM = {"lease_seconds": 0.3, "late_effect_seconds": 0.3}
"""The victim's claims end soon. It is alone while it lives, so nobody takes them too early."""

PRIMARY_HOOKS = (
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
BETWEEN_TWO_REQUESTS = Point("primary", "tracking_log_batch", "before", 2)
IN_AN_ARTIFACT = Point("journal", "journal_open_content", "reading", 2)
BEFORE_CLAIM = Point("journal", "journal_claim", "before", 2)
AFTER_CLAIM = Point("journal", "journal_claim", "after", 2)
BEFORE_SETTLE = Point("journal", "journal_settle", "before", 2)
AFTER_SETTLE = Point("journal", "journal_settle", "after", 2)
AFTER_RELEASE = Point("journal", "journal_release", "after")
ALL_POINTS = [
    *(Point("primary", hook, "before") for hook in PRIMARY_HOOKS),
    *(Point("primary", hook, "after") for hook in PRIMARY_HOOKS),
    *(Point("journal", "journal_claim", "before", count) for count in (1, 2, 4)),
    *(Point("journal", "journal_claim", "after", count) for count in (1, 2, 4)),
    *(Point("journal", "journal_settle", "before", count) for count in (1, 2, 5)),
    *(Point("journal", "journal_settle", "after", count) for count in (1, 2, 5)),
    *(Point("journal", "journal_release", "before", count) for count in (1, 3)),
    *(Point("journal", "journal_release", "after", count) for count in (1, 3)),
    *(Point("journal", "journal_open_content", "reading", count) for count in (1, 2, 4)),
    BETWEEN_TWO_REQUESTS,
    Point("primary", "tracking_log_batch", "after", 2),
]
QUICK = {
    "sqlite": [
        BEFORE_CLAIM,
        AFTER_CLAIM,
        BETWEEN_TWO_REQUESTS,
        IN_AN_ARTIFACT,
        BEFORE_SETTLE,
        AFTER_RELEASE,
        Point("primary", "tracking_create_run", "before"),
        Point("primary", "tracking_create_logged_model", "after"),
        Point("primary", "registry_create_model_version", "after"),
    ],
    "postgresql": [
        AFTER_CLAIM,
        BEFORE_SETTLE,
        AFTER_SETTLE,
        Point("primary", "tracking_create_run", "after"),
    ],
}
FORWARDING = [
    pytest.param(Point("spool", "journal_read", "after"), marks=pytest.mark.soak),
    pytest.param(Point("journal", "journal_append", "after", 1), marks=pytest.mark.soak),
    Point("journal", "journal_append", "after", 6),
    Point("spool", "journal_claim", "after", 2),
    pytest.param(Point("spool", "journal_settle", "after", 2), marks=pytest.mark.soak),
]
REQUESTS: dict[str, tuple[str, ...]] = {
    "experiment": ("POST", "/experiments/create"),
    "run": ("POST", "/runs/create"),
    "batch": ("POST", "/runs/log-batch"),
    "end of a run": ("POST", "/runs/update", "FINISHED"),
    "artifact": ("PUT", "/files/large.bin"),
    "logged model": ("POST", "/logged-models"),
    "output": ("POST", "/runs/outputs"),
    "registered model": ("POST", "/registered-models/create"),
    "version": ("POST", "/model-versions/create"),
    "version tag": ("POST", "/model-versions/set-tag"),
    "alias": ("POST", "/registered-models/alias"),
}
QUICK_REQUESTS = ("run", "version")
MODES = [
    (delivery, durability)
    for delivery in ("direct", "queued")
    for durability in ("machine", "process", "relaxed")
    if (delivery, durability) != ("direct", "machine")  # the other tests have that
]
QUICK_MODES = {("queued", "process"): AFTER_CLAIM, ("queued", "relaxed"): BETWEEN_TWO_REQUESTS}


def everywhere(point: Point) -> list[Any]:
    """The point with every journal: those in QUICK always, the rest as a soak test."""
    return [
        pytest.param(
            database,
            point,
            id=f"{database}-{point}",
            marks=() if point in QUICK[database] else pytest.mark.soak,
        )
        for database in DATABASES
    ]


@pytest.fixture
def chosen_url(request: pytest.FixtureRequest, database: str) -> str:
    """The address of the journal that the test names."""
    url: str = request.getfixturevalue("sqlite_url" if database == "sqlite" else "postgres_url")
    return url


def finish(
    server: MlflowServer, settings: dict[str, Any], workers: Workers, load: Workload, folder: Path
) -> None:
    """Let another worker do the rest, and count."""
    successor = workers.start(Job(server.url, settings, wait_seconds=30))
    outcome = successor.outcome()
    assert (outcome.dead, outcome.left) == (0, 0), outcome.reasons
    load.check(server.url, settings, folder)


@pytest.mark.parametrize(
    ("database", "point"), [case for point in ALL_POINTS for case in everywhere(point)]
)
def test_another_worker_finishes_exactly(
    point: Point, chosen_url: str, mlflow_server: MlflowServer, workers: Workers, tmp_path: Path
) -> None:
    settings = destination_settings(tmp_path / "data", chosen_url)
    load = Workload()
    load.write(settings, tmp_path)
    victim = workers.start(Job(mlflow_server.url, settings | VICTIM, point, wait_seconds=30))
    assert victim.ended_by() == -signal.SIGKILL
    finish(mlflow_server, settings, workers, load, tmp_path)


@pytest.mark.parametrize(
    ("delivery", "durability", "point"),
    [
        pytest.param(*mode, point, marks=() if QUICK_MODES.get(mode) is point else pytest.mark.soak)
        for mode in MODES
        for point in (AFTER_CLAIM, BETWEEN_TWO_REQUESTS, AFTER_SETTLE)
    ],
    ids=str,
)
def test_another_worker_finishes_exactly_what_was_written_in_each_mode(
    delivery: str,
    durability: str,
    point: Point,
    sqlite_url: str,
    mlflow_server: MlflowServer,
    workers: Workers,
    tmp_path: Path,
) -> None:
    mode = {"delivery": delivery, "durability": durability}
    settings = destination_settings(tmp_path / "data", sqlite_url) | mode
    load = Workload()
    load.write(settings, tmp_path)
    victim = workers.start(Job(mlflow_server.url, settings | VICTIM, point, wait_seconds=30))
    assert victim.ended_by() == -signal.SIGKILL
    finish(mlflow_server, settings, workers, load, tmp_path)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=() if what in QUICK_REQUESTS else pytest.mark.soak)
        for what in REQUESTS
    ],
)
def test_killed_while_the_answer_is_under_way(
    what: str, sqlite_url: str, mlflow_server: MlflowServer, workers: Workers, tmp_path: Path
) -> None:
    settings = destination_settings(tmp_path / "data", sqlite_url)
    load = Workload()
    load.write(settings, tmp_path)
    with LateProxy(mlflow_server.port) as proxy:
        method, path, *marks = REQUESTS[what]
        trap = proxy.trap(method, path, "hold_answer", *marks)
        victim = workers.start(Job(proxy.url, settings | VICTIM, wait_seconds=30))
        trap.wait()
        victim.kill()
    finish(mlflow_server, settings, workers, load, tmp_path)


@pytest.mark.parametrize("point", FORWARDING, ids=str)
def test_killed_while_the_spool_is_forwarded(
    point: Point, postgres_url: str, mlflow_server: MlflowServer, workers: Workers, tmp_path: Path
) -> None:
    settings = destination_settings(tmp_path / "data", postgres_url)
    load = Workload()
    away = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nowhere"
    load.write(settings | {"database_url": away}, tmp_path)
    # The one that finishes finds the spool claimed, and has to come back to it.
    held = settings | VICTIM | {"lease_seconds": 2.0}
    victim = workers.start(Job(mlflow_server.url, held, point, wait_seconds=30))
    assert victim.ended_by() == -signal.SIGKILL
    finish(mlflow_server, settings, workers, load, tmp_path)
