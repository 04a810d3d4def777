import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from hokusai_backend_sql.records_schema import experiments, runs
from hokusai_core.errors import ConflictError, NotFoundError, RejectedError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    CreateExperiment,
    CreateLoggedModel,
    CreateRun,
    FinalizeLoggedModel,
    LogBatch,
    MetricPoint,
    UpdateRun,
)


def test_health_names_the_database_without_credentials(primary):
    health = primary.tracking.tracking_check(primary.deadline)
    assert health == primary.registry.registry_check(primary.deadline)
    assert health.version
    assert health.description.startswith(("PostgreSQL ", "SQLite file "))
    assert "@" not in health.description


def test_an_experiment_is_created_once_and_found_by_name_and_id(primary):
    first = primary.write(CreateExperiment(name="Ünïcode / names", tags={"team": "a"}))
    again = primary.write(CreateExperiment(name="Ünïcode / names", tags={"team": "b"}))
    assert first.created
    assert not again.created
    assert first.primary_id == again.primary_id
    assert first.primary_id.isdecimal()
    (found,) = primary.tracking.tracking_find_experiments("Ünïcode / names", primary.deadline)
    assert found == primary.tracking.tracking_get_experiment(first.primary_id, primary.deadline)
    assert found.tags == {"team": "a"}
    assert primary.tracking.tracking_find_experiments("ünïcode / names", primary.deadline) == ()


@pytest.mark.parametrize("experiment_id", ["99", "x", "", "9" * 40, "hokusai"])
def test_an_unknown_experiment_is_not_found(primary, experiment_id):
    with pytest.raises(NotFoundError, match=repr(experiment_id)):
        primary.tracking.tracking_get_experiment(experiment_id, primary.deadline)
    with pytest.raises(NotFoundError, match=repr(experiment_id)):
        primary.write(CreateRun(experiment_id=experiment_id, run_name="x", start_time=1))


def test_a_deleted_experiment_says_what_to_do(primary):
    experiment_id = primary.experiment("gone")
    with primary.database.begin() as connection:
        connection.execute(update(experiments).values(lifecycle_stage="deleted"))
    with pytest.raises(RejectedError, match="Restore it"):
        primary.write(CreateExperiment(name="gone"))
    with pytest.raises(RejectedError, match="Restore it"):
        primary.write(CreateRun(experiment_id=experiment_id, run_name="x", start_time=1))
    (found,) = primary.tracking.tracking_find_experiments("gone", primary.deadline)
    assert found.lifecycle_stage == "deleted"


def test_a_run_has_its_name_tags_and_creation_mark_from_the_first_moment(primary):
    experiment_id = primary.experiment()
    operation = CreateRun(
        experiment_id=experiment_id, run_name="one", start_time=5, tags={"mlflow.user": "ann"}
    )
    run_id = primary.write(operation).primary_id
    run = primary.get_run(run_id)
    assert (run.info.run_name, run.info.start_time, run.info.status) == ("one", 5, "RUNNING")
    assert run.info.user_id == "ann"
    assert run.info.experiment_id == experiment_id
    assert run.data.tags == {
        "mlflow.user": "ann",
        "mlflow.runName": "one",
        OP_ID_TAG: operation.op_id,
    }
    assert primary.tracking.tracking_find_runs(operation, primary.deadline) == (run,)
    found = primary.tracking.tracking_find_by_op_id(operation.op_id, primary.deadline)
    assert found == (run_id,)


def test_a_repeated_creation_gives_the_first_ones_receipt(primary):
    operation = CreateRun(experiment_id=primary.experiment(), run_name="one", start_time=5)
    first, again = primary.write(operation), primary.write(operation)
    assert first.created
    assert not again.created
    assert first.primary_id == again.primary_id


def test_one_creation_sent_by_many_threads_makes_one_run(primary):
    operation = CreateRun(experiment_id=primary.experiment(), run_name="one", start_time=5)
    barrier = threading.Barrier(4)

    def send(_number):
        barrier.wait()
        return primary.write(operation)

    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(send, range(4)))
    assert len({receipt.primary_id for receipt in receipts}) == 1
    assert sorted(receipt.created for receipt in receipts) == [False, False, False, True]


def test_equal_points_are_one_point_and_special_values_come_back_exactly(primary):
    run_id = primary.run()
    values = (math.nan, math.inf, -math.inf, 1e-320, 0.1, 1.7976931348623157e308, 0.0)
    points = tuple(MetricPoint(key="m", value=value, timestamp=7, step=-3) for value in values)
    primary.write(LogBatch(run_id=run_id, metrics=points))
    primary.write(LogBatch(run_id=run_id, metrics=points))
    history = primary.tracking.tracking_get_metric_history(run_id, "m", primary.deadline)
    assert len(history) == len(values)
    assert [point.value for point in history if not math.isnan(point.value)] == sorted(
        value for value in values if not math.isnan(value)
    )
    assert sum(math.isnan(point.value) for point in history) == 1
    assert {(point.timestamp, point.step) for point in history} == {(7, -3)}
    assert primary.tracking.tracking_get_metric_history(run_id, "n", primary.deadline) == ()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_the_latest_metric_has_the_highest_step_then_time_then_value(primary, reverse, together):
    run_id = primary.run()
    points = [(0, 900, 9.0), (2, 5, 1.0), (2, 6, 1.0), (2, 6, 3.0), (1, 800, 9.0)]
    batch = [
        MetricPoint(key="m", step=step, timestamp=timestamp, value=value)
        for step, timestamp, value in sorted(points, reverse=reverse)
    ]
    for part in [tuple(batch)] if together else [(point,) for point in batch]:
        primary.write(LogBatch(run_id=run_id, metrics=part))
    run = primary.get_run(run_id)
    assert run.data.metrics == {"m": 3.0}
    (latest,) = run.latest_metrics
    assert (latest.step, latest.timestamp, latest.value) == (2, 6, 3.0)


def test_a_latest_nan_is_shown_as_nan(primary):
    run_id = primary.run()
    for step, value in ((0, 1.0), (1, math.nan)):
        point = MetricPoint(key="m", value=value, timestamp=1, step=step)
        primary.write(LogBatch(run_id=run_id, metrics=(point,)))
    assert math.isnan(primary.get_run(run_id).data.metrics["m"])


def test_extreme_steps_and_times_are_kept(primary):
    run_id = primary.run()
    points = tuple(
        MetricPoint(key="m", value=1.0, timestamp=2**63 - 1, step=step)
        for step in (-(2**63), 2**63 - 1)
    )
    primary.write(LogBatch(run_id=run_id, metrics=points))
    history = primary.tracking.tracking_get_metric_history(run_id, "m", primary.deadline)
    assert history == points


def test_a_param_keeps_its_value_and_the_refused_batch_leaves_nothing(primary):
    run_id = primary.run()
    primary.write(LogBatch(run_id=run_id, params={"lr": "0.1"}))
    primary.write(LogBatch(run_id=run_id, params={"lr": "0.1", "depth": "3"}))
    with pytest.raises(ConflictError) as caught:
        primary.write(
            LogBatch(
                run_id=run_id,
                params={"lr": "0.2", "new": "1"},
                tags={"t": "1"},
                metrics=(MetricPoint(key="m", value=1, timestamp=1),),
            )
        )
    assert "'0.1'" in str(caught.value)
    assert "'0.2'" in str(caught.value)
    run = primary.get_run(run_id)
    assert run.data.params == {"lr": "0.1", "depth": "3"}
    assert run.data.metrics == {}
    assert "t" not in run.data.tags


def test_a_tag_overwrites_and_the_name_tag_renames(primary):
    run_id = primary.run()
    primary.write(LogBatch(run_id=run_id, tags={"stage": "dev"}))
    primary.write(LogBatch(run_id=run_id, tags={"stage": "prod", "mlflow.runName": "second"}))
    run = primary.get_run(run_id)
    assert run.data.tags["stage"] == "prod"
    assert run.info.run_name == "second"


def test_status_end_and_name_are_set_and_what_is_none_stays(primary):
    run_id = primary.run()
    primary.write(UpdateRun(run_id=run_id, status="FINISHED", end_time=9))
    primary.write(UpdateRun(run_id=run_id, run_name="renamed"))
    primary.write(UpdateRun(run_id=run_id))
    run = primary.get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 9)
    assert (run.info.run_name, run.data.tags["mlflow.runName"]) == ("renamed", "renamed")


@pytest.mark.parametrize(
    "make",
    [
        lambda run_id: LogBatch(run_id=run_id, tags={"a": "b"}),
        lambda run_id: UpdateRun(run_id=run_id, status="FINISHED"),
        lambda run_id: CreateLoggedModel(run_id=run_id, experiment_id="1", name="m"),
    ],
)
def test_writes_to_an_unknown_or_deleted_run_are_refused(primary, make):
    run_id = primary.run()
    with pytest.raises(NotFoundError, match="No run"):
        primary.write(make(primary.unknown_id()))
    with primary.database.begin() as connection:
        connection.execute(update(runs).values(lifecycle_stage="deleted"))
    with pytest.raises(RejectedError, match="is deleted"):
        primary.write(make(run_id))
    assert primary.get_run(run_id).info.lifecycle_stage == "deleted"


def test_a_logged_model_waits_until_it_is_finalized(primary):
    experiment_id = primary.experiment()
    run_id = primary.run(experiment_id=experiment_id)
    operation = CreateLoggedModel(
        run_id=run_id,
        experiment_id=experiment_id,
        name="model",
        tags={"a": "b"},
        params={"depth": "3"},
    )
    receipt = primary.write(operation)
    assert not primary.write(operation).created
    model = primary.tracking.tracking_get_logged_model(receipt.primary_id, primary.deadline)
    assert (model.status, model.source_run_id, model.name) == ("PENDING", run_id, "model")
    assert model.tags == {"a": "b", OP_ID_TAG: operation.op_id}
    assert primary.tracking.tracking_find_logged_models(operation, primary.deadline) == (model,)
    found = primary.tracking.tracking_find_by_op_id(operation.op_id, primary.deadline)
    assert found == (receipt.primary_id,)

    finalize = FinalizeLoggedModel(run_id=run_id, model_id=receipt.primary_id)
    primary.write(finalize)
    primary.write(finalize)
    model = primary.tracking.tracking_get_logged_model(receipt.primary_id, primary.deadline)
    assert model.status == "READY"


def test_an_unknown_logged_model_is_not_found(primary):
    run_id = primary.run()
    with pytest.raises(NotFoundError, match="m-1"):
        primary.tracking.tracking_get_logged_model("m-1", primary.deadline)
    with pytest.raises(NotFoundError, match="m-1"):
        primary.write(FinalizeLoggedModel(run_id=run_id, model_id="m-1"))
