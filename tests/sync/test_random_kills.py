"""Several workers on one journal, ended with SIGKILL at random moments, many times over."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from hokusai_core import ExperimentManager, ModelRegistry, Settings
from hokusai_core.journal import EntryQuery
from tests.support.mlflow_server import MlflowServer
from tests.sync.worker_process import Job, Worker, Workers
from tests.sync.workload import destination_settings, nobody_there, unique

VICTIMS = {"lease_seconds": 1.0, "late_effect_seconds": 2.0, "sync_threads": 2}
"""Requests of a worker that is gone have the window to take effect on a loaded machine."""
POINTS = 6
"""Metrics of each run, each in an operation of its own."""


@pytest.mark.parametrize(
    ("streams", "kills", "at_once"),
    [
        pytest.param(20, 8, 2, id="short"),
        pytest.param(120, 400, 4, id="long", marks=pytest.mark.soak),
    ],
)
def test_nothing_is_lost_and_nothing_is_there_twice(
    streams: int,
    kills: int,
    at_once: int,
    mlflow_server: MlflowServer,
    database_url: str,
    workers: Workers,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", seed)
    print(f"seed {seed}")
    chance = random.Random(seed)
    settings = destination_settings(tmp_path / "data", database_url)
    experiment = unique("experiment")
    queued = _queue(settings, experiment, streams)
    victims = [_start(workers, mlflow_server, settings) for _ in range(at_once)]
    killed = 0
    for _ in range(kills):
        time.sleep(chance.uniform(0.02, 0.25))  # the moment of the kill is what is random here
        position = chance.randrange(at_once)
        victims[position].kill()
        killed += victims[position].ended_by() == -signal.SIGKILL
        victims[position] = _start(workers, mlflow_server, settings)
    for victim in victims:
        victim.kill()
    last = workers.start(Job(mlflow_server.url, settings | {"sync_threads": 4}, wait_seconds=30))
    outcome = last.outcome(240)
    assert killed > 0
    assert (outcome.dead, outcome.left) == (0, 0), outcome.reasons
    _count(MlflowClient(mlflow_server.url), experiment, streams)
    runtime = ModelRegistry(mlflow_server.url, settings=Settings.load(**settings)).runtime
    assert runtime.fallback is not None
    delivered = runtime.fallback.read(EntryQuery(states=("delivered",)))
    assert len(delivered) == queued
    runtime.close_connections()


def _start(workers: Workers, server: MlflowServer, settings: dict[str, object]) -> Worker:
    return workers.start(Job(server.url, settings | VICTIMS, wait_seconds=60))


def _queue(settings: dict[str, object], experiment: str, streams: int) -> int:
    manager = ExperimentManager(experiment, nobody_there(), settings=Settings.load(**settings))
    for number in range(streams):
        with manager.start_run(run_name=f"run {number}") as run:
            for step in range(POINTS):
                run.log_metric("loss", step / 3, step=step, timestamp=1_000 + step)
                run.set_tag("last", step)
            run.log_param("number", number)
            run.log_text(f"text {number}", "a.txt")
    queued = manager.runtime.waiting()
    assert queued == 1 + streams * (2 * POINTS + 4)
    manager.runtime.close_connections()
    return queued


def _count(client: MlflowClient, experiment: str, streams: int) -> None:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id], run_view_type=ViewType.ALL)
    assert sorted(run.info.run_name for run in runs) == sorted(
        f"run {number}" for number in range(streams)
    )
    points = [(1_000 + step, step, step / 3) for step in range(POINTS)]
    for run in runs:
        number = run.info.run_name.removeprefix("run ")
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [(each.timestamp, each.step, each.value) for each in history] == points
        assert run.data.tags["last"] == str(POINTS - 1)
        assert run.data.params == {"number": number}
        assert run.info.status == "FINISHED"
        (artifact,) = client.list_artifacts(run.info.run_id)
        assert (artifact.path, artifact.file_size) == ("a.txt", len(f"text {number}"))
