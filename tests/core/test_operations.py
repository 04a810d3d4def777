"""Operations survive JSON, exchange ids where they name them, and say what they wait for."""

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai_core.identifiers import IdKind, provisional_id
from hokusai_core.operations import (
    OPERATION_KINDS,
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    DeleteAlias,
    DeleteModelVersion,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    Operation,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    UpdateRun,
    dump_operation,
    load_operation,
)
from hokusai_core.testing import strategies

A, B = "a" * 32, "b" * 32
RUN, MODEL = provisional_id(IdKind.RUN, A), provisional_id(IdKind.MODEL, A)
EXPERIMENT, VERSION = provisional_id(IdKind.EXPERIMENT, A), provisional_id(IdKind.VERSION, A)
SHA = "0" * 64


@given(operation=strategies.operations)
def test_json_gives_the_same_operation_back(operation: Operation) -> None:
    text = dump_operation(operation)
    loaded = load_operation(text)
    assert type(loaded) is type(operation)
    assert dump_operation(loaded) == text
    assert (loaded.stream, loaded.requires, loaded.provides, loaded.after) == (
        operation.stream,
        operation.requires,
        operation.provides,
        operation.after,
    )


def test_tags_that_follow_nothing_are_as_an_older_release_wrote_them() -> None:
    plain = SetModelVersionTags(name="n", version="1", tags={"a": "b"})
    following = plain.model_copy(update={"follows": A})
    assert "follows" not in dump_operation(plain)
    for operation in (plain, following):
        assert load_operation(dump_operation(operation)) == operation


@given(operation=strategies.operations, data=st.data())
def test_ids_are_exchanged_there_and_back(operation: Operation, data: st.DataObject) -> None:
    there = {
        identifier: data.draw(strategies.op_ids, label=identifier)
        for identifier in operation.references
    }
    sent = operation.renamed(there)
    content_ids = set(getattr(operation, "content_references", ()))
    assert set(sent.references) <= content_ids
    back = {primary: identifier for identifier, primary in there.items()}
    assert dump_operation(sent.renamed(back)) == dump_operation(operation)


@given(operation=strategies.operations)
def test_an_empty_mapping_changes_nothing(operation: Operation) -> None:
    assert dump_operation(operation.renamed({})) == dump_operation(operation)


@given(operation=strategies.operations)
def test_the_hook_is_named_after_the_kind(operation: Operation) -> None:
    assert operation.hook == f"{operation.specification}_{operation.kind}"
    assert (operation.provisional_id is None) == (type(operation).creates is None)


def test_every_kind_is_listed_once() -> None:
    kinds = [kind.model_fields["kind"].default for kind in OPERATION_KINDS]
    assert len(kinds) == len(set(kinds)) == 14


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"from_the_future"}',
        '{"kind":"create_experiment","name":"x","schema_version":2}',
        '{"kind":"create_experiment","name":"x","unknown_field":1}',
        '{"kind":"create_experiment","name":"x","op_id":"not hexadecimal"}',
        "not json",
    ],
)
def test_what_this_release_does_not_know_is_not_read(text: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        load_operation(text)


def test_operations_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        CreateExperiment(name="x").name = "y"  # type: ignore[misc]


def test_only_ids_and_known_tags_name_ids() -> None:
    run = CreateRun(
        experiment_id=EXPERIMENT,
        run_name=RUN,
        start_time=1,
        tags={"mlflow.parentRunId": RUN, "note": MODEL},
    )
    assert run.references == (EXPERIMENT, RUN)
    sent = run.renamed({EXPERIMENT: "7", RUN: "r", MODEL: "m"})
    assert (sent.experiment_id, sent.run_name) == ("7", RUN)
    assert sent.tags == {"mlflow.parentRunId": "r", "note": MODEL}
    batch = LogBatch(run_id=RUN, params={"mlflow_run_id": MODEL}, tags={"mlflow_run_id": RUN})
    assert batch.references == (RUN,)
    assert batch.renamed({RUN: "r", MODEL: "m"}).params == {"mlflow_run_id": MODEL}


def test_an_id_is_not_found_inside_a_longer_one() -> None:
    version = CreateModelVersion(name="n", source=f"runs:/{RUN}/model", run_id=f"{RUN}0")
    assert version.renamed({RUN: "r"}).source == "runs:/r/model"
    assert version.renamed({RUN: "r"}).run_id == f"{RUN}0"


def artifact(run_id: str = "r", *, owner: ArtifactOwner | None = None, **fields: object):
    return LogArtifact.model_validate(
        {
            "run_id": run_id,
            "owner": owner or ArtifactOwner(kind="run", id=run_id),
            "path": "model/data/weights.bin",
            "size": 1,
            "sha256": SHA,
        }
        | fields
    )


@pytest.mark.parametrize(
    ("operation", "stream", "lanes"),
    [
        (CreateExperiment(name="e"), "experiment/e", ()),
        (CreateRun(op_id=A, experiment_id="1", run_name="n", start_time=1), f"run/{RUN}", ()),
        (LogBatch(run_id="r"), "run/r", ()),
        (UpdateRun(run_id="r", status="RUNNING"), "run/r", ()),
        (UpdateRun(run_id="r", status="KILLED"), "run/r", ("artifacts/r",)),
        (artifact("r"), "artifacts/r", ()),
        (CreateLoggedModel(run_id="r", experiment_id="1", name="m"), "artifacts/r", ()),
        (FinalizeLoggedModel(run_id="r", model_id="m-1"), "artifacts/r", ()),
        (CreateRegisteredModel(name="n"), "model/n", ()),
        (
            CreateModelVersion(op_id=A, name="n", source="s3://x", run_id="r"),
            f"version/n/{VERSION}",
            ("model/n", "artifacts/r"),
        ),
        (CreateModelVersion(op_id=A, name="n", source="s3://x"), f"version/n/{VERSION}", None),
        (SetModelVersionTags(name="n", version="3", tags={}), "version/n/3", ()),
        (DeleteModelVersion(name="n", version="3"), "version/n/3", ("model/n",)),
        (SetRegisteredModelTags(name="n", tags={}), "model/n", ()),
        (SetAlias(name="n", alias="a", version="3"), "model/n", ()),
        (DeleteAlias(name="n", alias="a"), "model/n", ()),
    ],
)
def test_streams(operation: Operation, stream: str, lanes: tuple[str, ...] | None) -> None:
    assert operation.stream == stream
    assert operation.lanes == (("model/n",) if lanes is None else lanes)


@pytest.mark.parametrize(
    ("operation", "provides"),
    [
        (CreateExperiment(op_id=A, name="e"), {f"id/{EXPERIMENT}"}),
        (CreateRun(op_id=A, experiment_id="1", run_name="n", start_time=1), {f"id/{RUN}"}),
        (LogBatch(run_id="r"), set()),
        (
            artifact("r"),
            {
                "artifacts/r",
                "file/run/r/",
                "file/run/r/model",
                "file/run/r/model/data",
                "file/run/r/model/data/weights.bin",
            },
        ),
        (
            CreateLoggedModel(op_id=A, run_id="r", experiment_id="1", name="m"),
            {f"id/{MODEL}", "artifacts/r"},
        ),
        (FinalizeLoggedModel(run_id="r", model_id="m-1"), {"artifacts/r", "ready/m-1"}),
        (
            FinalizeLoggedModel(run_id="r", model_id="m-1", name="best"),
            {"artifacts/r", "ready/m-1", "file/run/r/best"},
        ),
        (CreateRegisteredModel(name="n"), {"registered/n"}),
        (CreateModelVersion(op_id=A, name="n", source="s3://x"), {f"id/{VERSION}"}),
        (SetAlias(op_id=A, name="n", alias="a", version="3"), {f"move/{A}"}),
    ],
)
def test_what_comes_true(operation: Operation, provides: set[str]) -> None:
    assert operation.provides == provides


@pytest.mark.parametrize(
    ("operation", "requires", "after"),
    [
        (CreateExperiment(name="e"), set(), set()),
        (
            CreateRun(experiment_id=EXPERIMENT, run_name="n", start_time=1),
            {f"id/{EXPERIMENT}"},
            set(),
        ),
        (LogBatch(run_id="r"), set(), set()),
        (LogBatch(run_id=RUN), {f"id/{RUN}"}, set()),
        (UpdateRun(run_id="r", status="RUNNING"), set(), set()),
        (UpdateRun(run_id=RUN, status="FINISHED"), {f"id/{RUN}"}, {f"artifacts/{RUN}"}),
        (
            artifact(
                RUN,
                owner=ArtifactOwner(kind="model", id=MODEL),
                rewrites_ids=True,
                content_references=(EXPERIMENT,),
            ),
            {f"id/{RUN}", f"id/{MODEL}", f"id/{EXPERIMENT}"},
            set(),
        ),
        (FinalizeLoggedModel(run_id="r", model_id="m-1"), {"file/model/m-1/"}, set()),
        (
            CreateModelVersion(name="n", source="runs:/r/model/data"),
            {"registered/n", "file/run/r/model/data"},
            set(),
        ),
        (
            CreateModelVersion(name="n", source="runs:/r/model", run_id="r"),
            {"registered/n", "file/run/r/model"},
            set(),
        ),
        (
            CreateModelVersion(name="n", source=f"models:/{MODEL}", model_id=MODEL, run_id=RUN),
            {"registered/n", f"ready/{MODEL}", f"id/{MODEL}", f"id/{RUN}"},
            set(),
        ),
        (SetModelVersionTags(name="n", version=VERSION, tags={}), {f"id/{VERSION}"}, set()),
        (SetModelVersionTags(name="n", version="1", tags={}, follows=A), set(), {f"move/{A}"}),
        (SetRegisteredModelTags(name="n", tags={}), {"registered/n"}, set()),
        (
            SetAlias(name="n", alias="a", version=VERSION),
            {"registered/n", f"id/{VERSION}"},
            set(),
        ),
        (DeleteAlias(name="n", alias="a"), {"registered/n"}, set()),
    ],
)
def test_what_holds_back(operation: Operation, requires: set[str], after: set[str]) -> None:
    assert operation.requires == requires
    assert operation.after == after


def test_a_version_of_a_run_waits_for_the_run_s_file() -> None:
    stored = artifact("r")
    version = CreateModelVersion(name="n", source="runs:/r/model")
    assert stored.provides & version.requires
    assert not artifact("other").provides & version.requires


def test_a_batch_of_metrics_alone_commutes() -> None:
    assert LogBatch(run_id="r").only_metrics
    assert not LogBatch(run_id="r", params={"a": "b"}).only_metrics
    assert not LogBatch(run_id="r", tags={"a": "b"}).only_metrics
