"""Experiments and runs on a real server."""

import math

import pytest
from mlflow import MlflowClient

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import ConflictError, InvalidInputError, NotFoundError, RejectedError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    CreateExperiment,
    CreateRun,
    LogBatch,
    MetricPoint,
    UpdateRun,
    now_milliseconds,
)
from hokusai_core.queries import RunQuery
from tests.mlflow_backend.conftest import make_experiment, make_run, soon, unique
from tests.support.mlflow_server import MlflowServer


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    return MlflowClient(mlflow_server.url)


def test_check_tells_the_version(backend: OpenBackend) -> None:
    assert backend.tracking.tracking_check(soon()).version.startswith("3.")


def test_an_experiment_is_created_once_and_found_again(backend: OpenBackend) -> None:
    name = unique('it\'s a "name" %')
    first = backend.write(CreateExperiment(name=name, tags={"team": "a"}), soon())
    second = backend.write(CreateExperiment(name=name), soon())
    assert (first.created, second.created) == (True, False)
    assert first.primary_id == second.primary_id
    (found,) = backend.tracking.tracking_find_experiments(name, soon())
    assert found.tags["team"] == "a"
    assert backend.tracking.tracking_get_experiment(first.primary_id, soon()).name == name
    assert backend.tracking.tracking_find_experiments(unique("none"), soon()) == ()


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


def test_a_batch_is_stored_as_it_was_logged_and_repeats_are_harmless(backend: OpenBackend) -> None:
    run_id = make_run(backend, make_experiment(backend))
    batch = LogBatch(
        run_id=run_id,
        metrics=(
            MetricPoint(key="loss", value=0.1 + 0.2, timestamp=20, step=2),
            MetricPoint(key="loss", value=0.5, timestamp=10, step=1),
            MetricPoint(key="nan", value=math.nan, timestamp=10, step=-(2**63)),
            MetricPoint(key="inf", value=-math.inf, timestamp=10),
        ),
        params={"lr": "0.1"},
        tags={"note": "ünï\n'\""},
    )
    backend.write(batch, soon())
    backend.write(batch, soon())
    run = backend.tracking.tracking_get_run(run_id, soon())
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["note"] == "ünï\n'\""
    assert math.isnan(run.data.metrics["nan"])
    assert run.data.metrics["inf"] < -1e300
    assert {(p.key, p.step) for p in run.latest_metrics} >= {("loss", 2), ("nan", -(2**63))}
    history = backend.tracking.tracking_get_metric_history(run_id, "loss", soon())
    assert [(p.value, p.timestamp, p.step) for p in history] == [(0.5, 10, 1), (0.1 + 0.2, 20, 2)]
    assert backend.tracking.tracking_get_metric_history(run_id, "never", soon()) == ()


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


def test_update_sets_only_what_is_given(backend: OpenBackend) -> None:
    run_id = make_run(backend, make_experiment(backend))
    backend.write(UpdateRun(run_id=run_id, status="FAILED", end_time=123), soon())
    backend.write(UpdateRun(run_id=run_id, run_name="renamed"), soon())
    info = backend.tracking.tracking_get_run(run_id, soon()).info
    assert (info.status, info.end_time, info.run_name) == ("FAILED", 123, "renamed")


def test_a_missing_run_is_not_found(backend: OpenBackend) -> None:
    with pytest.raises(NotFoundError):
        backend.tracking.tracking_get_run("0" * 32, soon())
    with pytest.raises(NotFoundError):
        backend.write(UpdateRun(run_id="0" * 32, status="FINISHED"), soon())


def test_search_pages_and_refuses_what_it_does_not_understand(backend: OpenBackend) -> None:
    experiment_id = make_experiment(backend)
    runs = {make_run(backend, experiment_id) for _ in range(3)}
    query = RunQuery(experiment_ids=(experiment_id,), max_results=2)
    first = backend.tracking.tracking_search_runs(query, soon())
    rest = backend.tracking.tracking_search_runs(
        query.model_copy(update={"page_token": first.next_page_token}), soon()
    )
    assert rest.next_page_token == ""
    assert {run.info.run_id for run in (*first.items, *rest.items)} == runs
    with pytest.raises(InvalidInputError):
        backend.tracking.tracking_search_runs(
            RunQuery(experiment_ids=(experiment_id,), filter_string="loss is small"), soon()
        )
