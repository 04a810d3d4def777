"""Experiments and runs on a real server."""

import pytest
from mlflow import MlflowClient

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import ConflictError, NotFoundError, RejectedError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    CreateExperiment,
    CreateRun,
    LogBatch,
    UpdateRun,
    now_milliseconds,
)
from tests.mlflow_backend.conftest import make_experiment, make_run, soon, unique
from tests.support.mlflow_server import MlflowServer


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    return MlflowClient(mlflow_server.url)


def test_check_tells_the_version(backend: OpenBackend) -> None:
    assert backend.tracking.tracking_check(soon()).version.startswith("3.")


@pytest.mark.parametrize("experiment_id", ["987654321", "no-number"])
def test_a_missing_experiment_is_not_found(backend: OpenBackend, experiment_id: str) -> None:
    with pytest.raises(NotFoundError):
        backend.tracking.tracking_get_experiment(experiment_id, soon())


def test_a_deleted_experiment_has_its_own_message(
    backend: OpenBackend, client: MlflowClient
) -> None:
    name = unique("deleted")
    experiment_id = backend.write(CreateExperiment(name=name), soon()).primary_id
    client.delete_experiment(experiment_id)
    with pytest.raises(RejectedError, match="Restore it"):
        backend.write(CreateExperiment(name=name), soon())
    run = CreateRun(experiment_id=experiment_id, run_name="r", start_time=now_milliseconds())
    with pytest.raises(RejectedError, match="Restore it"):
        backend.write(run, soon())
    (found,) = backend.tracking.tracking_find_experiments(name, soon())
    assert found.lifecycle_stage == "deleted"


def test_a_run_carries_its_op_id_and_is_found_by_it(
    backend: OpenBackend, client: MlflowClient
) -> None:
    experiment_id = make_experiment(backend)
    operation = CreateRun(
        experiment_id=experiment_id,
        run_name="first",
        start_time=1_700_000_000_123,
        tags={"mlflow.user": "ada", "team": "a"},
    )
    made = backend.write(operation, soon()).primary_id
    again = backend.write(operation, soon()).primary_id
    make_run(backend, experiment_id)
    client.delete_run(made)
    stored = client.get_run(made)
    assert stored.data.tags[OP_ID_TAG] == operation.op_id
    assert (stored.info.start_time, stored.info.user_id) == (1_700_000_000_123, "ada")
    found = backend.tracking.tracking_find_runs(operation, soon())
    assert {run.info.run_id for run in found} == {made, again}
    assert {run.info.lifecycle_stage for run in found} == {"active", "deleted"}
    assert set(backend.tracking.tracking_find_by_op_id(operation.op_id, soon())) == {made, again}


def test_a_changed_param_shows_both_values(backend: OpenBackend) -> None:
    run_id = make_run(backend, make_experiment(backend))
    backend.write(LogBatch(run_id=run_id, params={"lr": "0.1"}), soon())
    with pytest.raises(ConflictError, match=r"'lr' is '0\.1' and cannot become '0\.2'"):
        backend.write(LogBatch(run_id=run_id, params={"lr": "0.2"}), soon())


def test_writes_to_a_deleted_run_are_refused(backend: OpenBackend, client: MlflowClient) -> None:
    run_id = make_run(backend, make_experiment(backend))
    client.delete_run(run_id)
    with pytest.raises(RejectedError):
        backend.write(LogBatch(run_id=run_id, params={"lr": "0.1"}), soon())
    with pytest.raises(RejectedError):
        backend.write(UpdateRun(run_id=run_id, status="FINISHED"), soon())
