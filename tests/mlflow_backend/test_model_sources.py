"""Where the files of versions are that a real server has, also old ones and a plain client's."""

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

from hokusai_core.backends import OpenBackend
from hokusai_core.operations import CreateModelVersion, CreateRegisteredModel
from tests.mlflow_backend.conftest import make_experiment, make_run, soon, unique
from tests.support.mlflow_server import MlflowServer


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    return MlflowClient(mlflow_server.url, mlflow_server.url)


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
