"""Where the files of versions are that a real server has, also old ones and a plain client's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from hokusai_core import (
    ExperimentManager,
    ModelRegistry,
    Settings,
    TransientError,
    UnavailableError,
)
from hokusai_core.backends import OpenBackend
from hokusai_core.operations import CreateModelVersion, CreateRegisteredModel
from tests.mlflow_backend.conftest import make_experiment, make_run, soon, unique
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.waiting import wait_for

X, Y = load_iris(return_X_y=True)


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    return MlflowClient(mlflow_server.url, mlflow_server.url)


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[FaultProxy]:
    with FaultProxy(mlflow_server.port) as running:
        yield running


@pytest.fixture
def registry(proxy: FaultProxy, tmp_path: Path) -> Iterator[ModelRegistry]:
    """One that delivers nothing: what waits goes on waiting."""
    loaded = Settings.load(
        data_dir=tmp_path,
        auto_sync=False,
        request_timeout=20,
        write_timeout=25,
        lease_seconds=60,
        circuit_open_seconds=0.1,
        circuit_open_max_seconds=0.1,
    )
    made = ModelRegistry(proxy.url, settings=loaded)
    yield made
    made.runtime.close_connections()


def known_by_both(registry: ModelRegistry, name: str) -> bool:
    """Whether the server tells of version 1 again, and the journal of what waits of it."""
    try:
        return registry.get_model_version(name, 1).source == "merged"
    except TransientError:
        return False


def test_a_delivered_version_is_loaded_while_a_tag_of_it_waits(
    registry: ModelRegistry, client: MlflowClient, proxy: FaultProxy, tmp_path: Path
) -> None:
    """From wherever the server has it: below the run, as older clients left it, or a copy."""
    model = LogisticRegression(max_iter=500).fit(X, Y)
    names = [unique("old"), unique("copy")]
    manager = ExperimentManager(registry, experiment_name=unique("experiment"))
    with manager.start_run() as run:
        saved = registry.download_model(run.log_model(model, "new").model_uri, tmp_path / "saved")
        run.log_artifacts(saved, "old")
    client.create_registered_model(names[0])
    location = f"{client.get_run(run.run_id).info.artifact_uri}/old"
    client.create_model_version(names[0], location, run.run_id)
    client.copy_model_version(f"models:/{names[0]}/1", names[1])
    for name in names:
        registry.get_model_version(name, 1)
    proxy.mode = "refuse"
    for name in names:
        registry.update_model_tags(name, 1, {"team": "a"})
        with pytest.raises(TransientError):
            registry.load_model(f"models:/{name}/1")
    proxy.mode = "pass"
    assert wait_for(lambda: known_by_both(registry, names[0]))
    assert registry.runtime.waiting() == len(names)
    for name in names:
        loaded = registry.load_model(f"models:/{name}/1")
        assert (loaded.predict(X) == model.predict(X)).all()


def test_a_source_that_only_the_server_reads_is_no_mistake_of_the_caller(
    registry: ModelRegistry, proxy: FaultProxy
) -> None:
    name = unique("model")
    registry.register_model("s3://bucket/m", name)
    proxy.mode = "refuse"
    waiting = registry.register_model("s3://bucket/m", name)
    for version in ("1", waiting.version):
        with pytest.raises(UnavailableError, match=r"'s3://bucket/m', which is read through the"):
            registry.load_model(f"models:/{name}/{version}")


def test_a_creation_from_a_runs_path_is_of_the_logged_model_and_found_again(
    backend: OpenBackend, client: MlflowClient
) -> None:
    """Of several models of one name, that of the last step; among equal ones, the newest."""
    name = unique("model")
    backend.write(CreateRegisteredModel(name=name), soon())
    experiment_id = make_experiment(backend)
    run_id = make_run(backend, experiment_id)
    made = [
        client.create_logged_model(experiment_id, name=each, source_run_id=run_id).model_id
        for each in ("clf", "clf", "clf", "other")
    ]
    # The one of the last step is not the newest of its name.
    for model_id, step in zip(made, (5, 5, 1, 9), strict=True):
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
    operation = CreateModelVersion(name=name, source=f"runs:/{run_id}/clf", run_id=run_id)
    number = backend.write(operation, soon()).primary_id
    (found,) = backend.registry.registry_find_versions(operation, soon())
    assert (found.version, found.source_uri) == (number, f"models:/{made[1]}")
    assert (found.run_id, found.model_id) == (run_id, made[1])


def test_a_runs_path_that_no_logged_model_has_stays(backend: OpenBackend) -> None:
    name = unique("model")
    backend.write(CreateRegisteredModel(name=name), soon())
    run_id = make_run(backend, make_experiment(backend))
    for path in (f"{run_id}/clf", f"{'0' * 32}/clf"):
        source, run = f"runs:/{path}", path.partition("/")[0]
        operation = CreateModelVersion(name=name, source=source, run_id=run)
        number = backend.write(operation, soon()).primary_id
        stored = backend.registry.registry_get_model_version(name, number, soon())
        assert (stored.source_uri, stored.run_id) == (source, run)
