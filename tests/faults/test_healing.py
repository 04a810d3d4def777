"""A server that heals in steps: refused, then 502, then 401, then well. The job never stops."""

import uuid
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from hokusai_core import ExperimentManager, RunHandle
from tests.faults.conftest import MakeRegistry
from tests.faults.table import page
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.mlflow_server import MlflowServer
from tests.support.waiting import wait_for

SOON = {
    "auto_sync": True,
    "late_effect_seconds": 0.5,
    "circuit_open_seconds": 0.1,
    "circuit_open_max_seconds": 0.2,
}
STEPS: tuple[tuple[str, Mode, bytes], ...] = (
    ("refused", "refuse", b""),
    ("502", "canned", page("502 Bad Gateway")),
    ("401", "canned", page("401 Unauthorized")),
    ("healthy", "pass", b""),
)


def work(manager: ExperimentManager, first: RunHandle, step: str, number: int) -> None:
    """What a job does meanwhile: every call of it has to succeed."""
    registry = manager.registry
    first.log_metric("step", number, step=number)
    first.set_tag("step", step)
    first.log_text(step, f"{step}.txt")
    with manager.start_run(run_name=step, nested=True) as run:
        run.log_params({"number": number})
        run.log_metric("loss", 1 / (number + 1))
        version = registry.register_model("s3://bucket/model", first.get().data.tags["model"])
    registry.set_alias(version.name, step, version.version)
    assert first.get().data.tags["step"] == step
    assert run.get().info.status == "FINISHED"
    assert len(manager.get_metric_history(first.run_id, "step")) == number + 1


@pytest.mark.parametrize("began", ["before the outage", "in the outage"])
def test_a_job_goes_on_through_every_step_and_everything_arrives_once(
    mlflow_server: MlflowServer,
    client: MlflowClient,
    make_registry: MakeRegistry,
    tmp_path: Path,
    began: str,
) -> None:
    name = f"healing {uuid.uuid4().hex[:12]}"
    with FaultProxy(mlflow_server.port) as proxy:
        registry = make_registry(proxy.url, **SOON)
        manager = ExperimentManager(registry, experiment_name=name)
        if began == "in the outage":
            proxy.mode = "refuse"
        with manager.start_run(run_name="first", tags={"model": name}) as first:
            for number, (step, mode, answer) in enumerate(STEPS):
                proxy.canned = answer
                proxy.mode = mode
                seen = len(proxy.requests)
                work(manager, first, step, number)
                # The step is over only when the drainer has met it, too.
                assert mode == "refuse" or wait_for(lambda seen=seen: len(proxy.requests) > seen)
        first.wait(60.0)
        assert wait_for(lambda: manager.runtime.waiting() == 0, 60.0)
    runs = client.search_runs(
        [client.get_experiment_by_name(name).experiment_id], run_view_type=ViewType.ALL
    )
    steps = [step for step, _, _ in STEPS]
    assert sorted(run.info.run_name for run in runs) == sorted(["first", *steps])
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_name = {run.info.run_name: run for run in runs}
    for number, step in enumerate(steps):
        run = by_name[step]
        assert run.data.params == {"number": str(number)}
        assert run.data.metrics == {"loss": 1 / (number + 1)}
        assert run.data.tags["mlflow.parentRunId"] == by_name["first"].info.run_id
        file = client.download_artifacts(first.primary_id, f"{step}.txt", str(tmp_path))
        assert Path(file).read_text() == step
    points = client.get_metric_history(first.primary_id, "step")
    assert [point.step for point in points] == list(range(len(steps)))
    assert by_name["first"].data.tags["step"] == "healthy"
    versions = client.search_model_versions(f"name = '{name}'")
    assert len(versions) == len(steps)
    assert set(client.get_registered_model(name).aliases) == set(steps)
