"""What waits is laid over what the primary said, each record once."""

from hokusai_core.entities import FileInfo, ModelVersion, RegisteredModel, Run, RunData, RunInfo
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    DeleteAlias,
    DeleteModelVersion,
    LogBatch,
    MetricPoint,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    UpdateRun,
)
from hokusai_core.overlay import (
    merge_metric_history,
    merge_runs,
    overlay_artifacts,
    overlay_registered_model,
    overlay_run,
    overlay_version,
    waiting_runs,
)
from hokusai_core.queries import RunQuery
from hokusai_core.testing.contracts.samples import file_of, new_run

IDS = frozenset({"r"})
EXPERIMENT = ("1",)


def primary_run(run_id: str = "r", start_time: int = 1000, **tags: str) -> Run:
    point = MetricPoint(key="loss", value=1.0, timestamp=1, step=5)
    return Run(
        info=RunInfo(run_id=run_id, experiment_id="1", start_time=start_time),
        data=RunData(metrics={"loss": 1.0}, params={"lr": "0.1"}, tags=tags),
        latest_metrics=(point,),
    )


def loss(value: float, step: int) -> MetricPoint:
    return MetricPoint(key="loss", value=value, timestamp=2, step=step)


def provisional(operation: CreateRun | CreateModelVersion) -> str:
    assert operation.provisional_id is not None
    return operation.provisional_id


def test_nothing_waiting_changes_nothing() -> None:
    run = primary_run()
    assert overlay_run(run, [LogBatch(run_id="other", tags={"a": "b"})], IDS) == run


def test_writes_are_laid_over() -> None:
    waiting = [
        LogBatch(run_id="r", metrics=(loss(9.0, 4), loss(0.5, 6)), tags={"a": "b"}),
        UpdateRun(run_id="r", status="FAILED", end_time=7),
    ]
    run = overlay_run(primary_run(team="x"), waiting, IDS)
    assert run.data.metrics == {"loss": 0.5}
    assert run.latest_metrics == (loss(0.5, 6),)
    assert run.data.tags == {"team": "x", "a": "b"}
    assert (run.info.status, run.info.end_time) == ("FAILED", 7)
    assert (run.source, run.sync_state, run.complete) == ("merged", "pending", True)


def test_an_older_step_does_not_show() -> None:
    run = overlay_run(primary_run(), [LogBatch(run_id="r", metrics=(loss(9.0, 4),))], IDS)
    assert run.data.metrics == {"loss": 1.0}


def test_what_will_be_refused_does_not_show() -> None:
    waiting = [LogBatch(run_id="r", params={"lr": "0.2"}), LogBatch(run_id="r", tags={"a": "b"})]
    run = overlay_run(primary_run(), waiting, IDS)
    assert (run.data.params, run.data.tags) == ({"lr": "0.1"}, {"a": "b"})


def test_a_waiting_run_is_known_in_full() -> None:
    creation = new_run("1", tags={"team": "x"})
    run_id = provisional(creation)
    waiting = [creation, LogBatch(run_id=run_id, params={"lr": "1"})]
    run = overlay_run(None, waiting, frozenset({run_id}))
    assert (run.info.run_id, run.info.run_name) == (run_id, creation.run_name)
    assert (run.source, run.sync_state, run.complete) == ("fallback", "pending", True)
    assert waiting_runs(waiting) == (run,)


def test_a_run_begun_in_health_is_a_stub() -> None:
    run = overlay_run(None, [LogBatch(run_id="r", tags={"a": "b"})], IDS)
    assert (run.info.run_id, run.data.tags) == ("r", {"a": "b"})
    assert (run.source, run.sync_state, run.complete) == ("fallback", "pending", False)
    nothing = overlay_run(None, [], IDS)
    assert (nothing.source, nothing.sync_state, nothing.complete) == (
        "fallback",
        "delivered",
        False,
    )


def test_both_names_of_a_run_are_one() -> None:
    creation = new_run("1")
    run_id = provisional(creation)
    waiting = [
        creation,
        LogBatch(run_id=run_id, tags={"a": "1"}),
        LogBatch(run_id="r", tags={"b": "2"}),
    ]
    run = overlay_run(primary_run(), waiting, frozenset({"r", run_id}))
    assert run.info.run_id == "r"
    assert run.data.tags == {"a": "1", "b": "2"}


def test_a_history_holds_each_point_once() -> None:
    known = (loss(1.0, 1), loss(2.0, 2))
    waiting = [LogBatch(run_id="r", metrics=(loss(2.0, 2), loss(0.5, 3)))]
    other = MetricPoint(key="accuracy", value=1.0, timestamp=1)
    waiting.append(LogBatch(run_id="r", metrics=(other,)))
    assert merge_metric_history(known, waiting, "loss") == (*known, loss(0.5, 3))
    assert merge_metric_history((), [], "loss") == ()


def test_waiting_files_are_listed() -> None:
    known = [FileInfo(path="a.txt", is_dir=False, file_size=1), FileInfo(path="d", is_dir=True)]
    waiting = [file_of("r", path, b"abc")[0] for path in ("a.txt", "d/e/f.txt", "z.txt")]
    root = overlay_artifacts(known, waiting)
    assert [(entry.path, entry.is_dir, entry.file_size) for entry in root] == [
        ("a.txt", False, 3),
        ("d", True, None),
        ("z.txt", False, 3),
    ]
    assert [entry.path for entry in overlay_artifacts([], waiting, "d")] == ["d/e"]
    assert overlay_artifacts([], waiting, "a") == ()


def test_a_version_and_what_waits_for_it() -> None:
    base = ModelVersion(name="m", version="3", tags={"a": "1"}, aliases=("champion",))
    ids = frozenset({"3"})
    others = [
        SetModelVersionTags(name="m", version="4", tags={"a": "4"}),
        SetModelVersionTags(name="n", version="3", tags={"a": "n"}),
        SetAlias(name="m", alias="other", version="4"),
    ]
    assert overlay_version(base, others, "m", ids) == base
    tagged = overlay_version(
        base, [SetModelVersionTags(name="m", version="3", tags={"b": "2"})], "m", ids
    )
    assert tagged is not None
    assert (tagged.tags, tagged.source) == ({"a": "1", "b": "2"}, "merged")
    assert tagged.sync_state == "pending"
    for move in (
        DeleteAlias(name="m", alias="champion"),
        SetAlias(name="m", alias="champion", version="4"),
    ):
        moved = overlay_version(base, [move], "m", ids)
        assert moved is not None
        assert (moved.aliases, moved.sync_state) == ((), "pending")
    assert overlay_version(base, [DeleteModelVersion(name="m", version="3")], "m", ids) is None


def test_a_waiting_version_is_known_in_full() -> None:
    creation = CreateModelVersion(name="m", source="s3://b/m", tags={"a": "1"})
    number = provisional(creation)
    waiting = [
        CreateRegisteredModel(name="m"),
        creation,
        SetAlias(name="m", alias="champion", version=number),
    ]
    version = overlay_version(None, waiting, "m", frozenset({number}))
    assert version is not None
    assert (version.version, version.aliases) == (number, ("champion",))
    assert version.tags == {"a": "1", OP_ID_TAG: creation.op_id}
    assert (version.source, version.sync_state) == ("fallback", "pending")


def test_a_registered_model_and_what_waits_for_it() -> None:
    base = RegisteredModel(name="m", tags={"a": "1"}, aliases={"champion": "3", "old": "1"})
    waiting = [
        CreateRegisteredModel(name="m", tags={"ignored": "as it exists"}),
        SetRegisteredModelTags(name="m", tags={"b": "2"}),
        SetAlias(name="m", alias="champion", version="4"),
        DeleteAlias(name="m", alias="old"),
        SetAlias(name="other", alias="champion", version="9"),
    ]
    model = overlay_registered_model(base, waiting, "m")
    assert (model.tags, model.aliases) == ({"a": "1", "b": "2"}, {"champion": "4"})
    stub = overlay_registered_model(None, waiting, "m")
    assert stub.tags == {"ignored": "as it exists", "b": "2"}
    assert overlay_registered_model(None, [], "m") == RegisteredModel(name="m")


def test_a_search_holds_each_run_once() -> None:
    creation = new_run("1", start_time=3000)
    run_id = provisional(creation)
    (waiting,) = waiting_runs([creation, LogBatch(run_id=run_id, tags={"a": "b"})])
    found = [primary_run("r1"), primary_run("r2", 2000, **{OP_ID_TAG: creation.op_id})]
    merged = merge_runs(found, [waiting], RunQuery(experiment_ids=EXPERIMENT))
    assert [run.info.run_id for run in merged] == ["r2", "r1"]
    assert merged[0].data.tags["a"] == "b"
    assert (merged[0].source, merged[0].info.start_time) == ("merged", 3000)


def test_a_search_is_filtered_after_merging() -> None:
    found = [primary_run("r1", 1000), primary_run("r2", 2000)]
    changed = overlay_run(
        found[0], [LogBatch(run_id="r1", metrics=(loss(0.1, 6),))], frozenset({"r1"})
    )
    (waiting,) = waiting_runs([new_run("1", start_time=3000)])
    (elsewhere,) = waiting_runs([new_run("2", start_time=4000)])
    runs = [changed, waiting, elsewhere]
    query = RunQuery(experiment_ids=EXPERIMENT, filter_string="metrics.loss < 0.5")
    assert merge_runs(found, runs, query) == (changed,)
    query = RunQuery(experiment_ids=EXPERIMENT, max_results=2)
    assert merge_runs(found, runs, query) == (waiting, found[1])
    query = RunQuery(experiment_ids=EXPERIMENT, order_by=("metrics.loss ASC",))
    assert merge_runs(found, runs, query) == (changed, found[1], waiting)
