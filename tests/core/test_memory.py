"""The store in memory keeps MLflow's semantics, and replays what waits."""

import io
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai_core.entities import ModelVersion, RegisteredModel, Run, RunInfo
from hokusai_core.errors import ConflictError, InvalidInputError, NotFoundError, RejectedError
from hokusai_core.identifiers import OP_ID_TAG, is_provisional
from hokusai_core.memory import MemoryStore
from hokusai_core.memory_metrics import in_order, latest_points, point_identity
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    FinalizeLoggedModel,
    LogBatch,
    MetricPoint,
    Operation,
    SetAlias,
    SetModelVersionTags,
    UpdateRun,
)
from hokusai_core.queries import RunQuery
from hokusai_core.testing import strategies
from hokusai_core.testing.contracts.samples import file_of, new_run


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run_id(store: MemoryStore) -> str:
    experiment_id = store.apply(CreateExperiment(name="e")).primary_id
    return store.apply(new_run(experiment_id)).primary_id


def point(value: float, timestamp: int = 1, step: int = 0) -> MetricPoint:
    return MetricPoint(key="k", value=value, timestamp=timestamp, step=step)


def test_ids_look_like_the_server_s(store: MemoryStore, run_id: str) -> None:
    assert store.get_run(run_id).info.experiment_id == "1"
    assert len(bytes.fromhex(run_id)) == 16
    assert store.apply(CreateExperiment(name="other")).primary_id == "2"


def test_a_run_cannot_be_in_an_unknown_experiment(store: MemoryStore) -> None:
    with pytest.raises(NotFoundError, match="'9'"):
        store.apply(new_run("9"))


def test_a_deleted_experiment_takes_no_runs(store: MemoryStore, run_id: str) -> None:
    store.delete_experiment("1")
    with pytest.raises(RejectedError, match="deleted"):
        store.apply(new_run("1"))
    with pytest.raises(RejectedError, match="deleted"):
        store.apply(CreateExperiment(name="e"))
    (found,) = store.find_experiments("e")
    assert found.lifecycle_stage == "deleted"


@pytest.mark.parametrize(
    "write",
    [
        lambda run_id: LogBatch(run_id=run_id, tags={"a": "b"}),
        lambda run_id: UpdateRun(run_id=run_id, status="FINISHED"),
        lambda run_id: CreateLoggedModel(run_id=run_id, experiment_id="1", name="m"),
    ],
)
def test_a_deleted_run_takes_no_writes(store: MemoryStore, run_id: str, write) -> None:
    store.delete_run(run_id)
    with pytest.raises(RejectedError, match="deleted"):
        store.apply(write(run_id))
    assert store.get_run(run_id).info.lifecycle_stage == "deleted"
    (found,) = store.find_runs(store.get_run(run_id).data.tags[OP_ID_TAG])
    assert found.info.run_id == run_id
    store.restore_run(run_id)
    store.apply(write(run_id))


def test_deleted_runs_are_found_only_on_demand(store: MemoryStore, run_id: str) -> None:
    store.delete_run(run_id)
    assert store.search_runs(RunQuery(experiment_ids=("1",))).items == ()
    for view in ("ALL", "DELETED_ONLY"):
        query = RunQuery(experiment_ids=("1",), view_type=view)
        assert [run.info.run_id for run in store.search_runs(query).items] == [run_id]


def test_a_conflict_shows_both_values_and_stores_nothing(store: MemoryStore, run_id: str) -> None:
    store.apply(LogBatch(run_id=run_id, params={"lr": "0.1"}))
    with pytest.raises(ConflictError, match=r"'0\.1'.*'0\.2'"):
        store.apply(
            LogBatch(
                run_id=run_id,
                params={"new": "1", "lr": "0.2"},
                tags={"a": "b"},
                metrics=(point(1.0),),
            )
        )
    run = store.get_run(run_id)
    assert run.data.params == {"lr": "0.1"}
    assert "a" not in run.data.tags
    assert run.data.metrics == {}


def test_the_name_and_its_tag_are_one(store: MemoryStore, run_id: str) -> None:
    store.apply(LogBatch(run_id=run_id, tags={"mlflow.runName": "by tag"}))
    assert store.get_run(run_id).info.run_name == "by tag"
    store.apply(UpdateRun(run_id=run_id, run_name="by update"))
    assert store.get_run(run_id).data.tags["mlflow.runName"] == "by update"


def test_a_foreign_page_token_is_refused(store: MemoryStore) -> None:
    with pytest.raises(InvalidInputError, match="token"):
        store.search_runs(RunQuery(experiment_ids=("1",), page_token="x"))


def test_an_output_is_recorded_once(store: MemoryStore, run_id: str) -> None:
    creation = CreateLoggedModel(run_id=run_id, experiment_id="1", name="m")
    model_id = store.apply(creation).primary_id
    for _ in range(2):
        store.apply(FinalizeLoggedModel(run_id=run_id, model_id=model_id))
    assert store.run_outputs(run_id) == (model_id,)


def test_files_need_their_run_and_model(store: MemoryStore, run_id: str) -> None:
    for owner in (None, ArtifactOwner(kind="model", id="m-none")):
        operation, content = file_of("none" if owner is None else run_id, "a", b"", owner)
        with pytest.raises(NotFoundError):
            store.apply(operation, content)


@given(points=st.lists(st.builds(point, strategies.floats, st.integers(0, 3), st.integers(-2, 2))))
def test_points_do_not_depend_on_order_or_repeats(points: list[MetricPoint]) -> None:
    identities = [point_identity(each) for each in in_order(points)]
    assert identities == sorted(set(identities))
    assert [point_identity(each) for each in in_order([*reversed(points), *points])] == identities
    if points:
        latest = latest_points(points)["k"]
        again = latest_points([*points[::-1], *points])["k"]
        key = (latest.step, latest.timestamp)
        assert key == (again.step, again.timestamp) == max((p.step, p.timestamp) for p in points)


def test_infinity_and_what_the_server_makes_of_it_are_one_point() -> None:
    assert point_identity(point(math.inf)) == point_identity(point(1.7976931348623157e308))
    assert point_identity(point(math.nan)) != point_identity(point(0.0))


def test_threads_share_a_store(store: MemoryStore, run_id: str) -> None:
    store.apply(CreateRegisteredModel(name="m"))

    def work(number: int) -> list[str]:
        made = []
        for step in range(20):
            metric = MetricPoint(key="k", value=0.0, timestamp=number, step=step)
            store.apply(LogBatch(run_id=run_id, metrics=(metric,)))
            made.append(store.apply(CreateModelVersion(name="m", source="s3://b/m")).primary_id)
        return made

    with ThreadPoolExecutor(4) as executor:
        numbers = [number for made in executor.map(work, range(4)) for number in made]
    assert sorted(map(int, numbers)) == list(range(1, 81))
    assert len(store.metric_history(run_id, "k")) == 80


# Replay


@pytest.fixture
def replay() -> MemoryStore:
    return MemoryStore(preserve_ids=True)


def test_creations_keep_their_provisional_ids(replay: MemoryStore) -> None:
    experiment = CreateExperiment(name="e")
    run = new_run(experiment.provisional_id or "")
    version = CreateModelVersion(name="m", source="s3://b/m")
    for operation in (experiment, run, version):
        assert replay.apply(operation).primary_id == operation.provisional_id
    assert replay.get_run(run.provisional_id or "").complete
    assert is_provisional(replay.get_model_version("m", version.provisional_id or "").version)


def test_a_run_that_is_not_known_becomes_a_stub(replay: MemoryStore) -> None:
    replay.apply(LogBatch(run_id="begun-in-health", tags={"a": "b"}))
    run = replay.get_run("begun-in-health")
    assert (run.data.tags, run.complete) == ({"a": "b"}, False)


def test_a_version_that_is_not_known_becomes_a_stub(replay: MemoryStore) -> None:
    replay.apply(SetModelVersionTags(name="m", version="3", tags={"a": "b"}))
    replay.apply(SetAlias(name="m", alias="champion", version="4"))
    assert replay.get_model_version("m", "3").tags == {"a": "b"}
    assert replay.version_by_alias("m", "champion").version == "4"


def test_a_file_without_bytes_is_listed_and_not_opened(replay: MemoryStore, tmp_path: Path) -> None:
    operation, _ = file_of("r", "a.txt", b"abc")
    replay.apply(operation)
    (listed,) = replay.list_artifacts(operation.owner)
    assert (listed.path, listed.file_size) == ("a.txt", 3)
    with pytest.raises(NotFoundError):
        replay.download_artifact(operation.owner, "a.txt", tmp_path / "a.txt")
    replay.apply(operation, lambda: io.BytesIO(b"abc"))
    with replay.open_artifact(operation.owner, "a.txt") as stream:
        assert stream.read() == b"abc"


def test_seeds_come_back_as_they_were(replay: MemoryStore) -> None:
    latest = (point(2.0, 5, 3),)
    run = Run(info=RunInfo(run_id="r", experiment_id="1"), latest_metrics=latest)
    run = run.model_copy(update={"data": run.data.model_copy(update={"metrics": {"k": 2.0}})})
    replay.seed_run(run)
    assert replay.get_run("r") == run
    model = RegisteredModel(name="m", tags={"a": "b"}, aliases={"champion": "7"})
    replay.seed_registered_model(model)
    version = ModelVersion(name="m", version="7", aliases=("champion",))
    replay.seed_model_version(version)
    assert replay.get_registered_model("m") == model
    assert replay.get_model_version("m", "7") == version


def test_a_seeded_number_is_not_given_again(store: MemoryStore) -> None:
    store.seed_model_version(ModelVersion(name="m", version="7"))
    assert store.apply(CreateModelVersion(name="m", source="s3://b/m")).primary_id == "8"


@given(operation=strategies.operations)
def test_every_operation_is_replayed_on_nothing(operation: Operation) -> None:
    store = MemoryStore(preserve_ids=True)
    receipt = store.apply(operation)
    if operation.provisional_id:
        assert receipt.primary_id == operation.provisional_id
    if isinstance(operation, CreateRun):
        assert store.get_run(receipt.primary_id).info.run_name == operation.run_name
