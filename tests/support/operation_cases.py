"""Every kind of operation with what it writes to, and how to see on the server what came of it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from hokusai_core.hookspecs import OpenContent
from hokusai_core.operations import (
    AnyOperation,
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
    MetricPoint,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    UpdateRun,
    now_milliseconds,
)
from tests.sync.workload import unique

CONTENTS = (b"text", b"later")


class Scene:
    """What the operations write to: an experiment with a run, and a model with two versions."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self.new_name = unique("new")
        self.experiment_id: str = client.create_experiment(unique("experiment"))
        self.run_id: str = client.create_run(self.experiment_id, start_time=1).info.run_id
        self.model = unique("model")
        client.create_registered_model(self.model)
        for _ in range(2):
            client.create_model_version(self.model, "s3://bucket/model", await_creation_for=0)
        client.set_registered_model_alias(self.model, "old", "1")
        self.logged_model_id: str = client.create_logged_model(
            self.experiment_id, "model", self.run_id
        ).model_id

    @property
    def marks(self) -> tuple[str, ...]:
        """What tells a request to this scene from all others."""
        return (self.new_name, self.run_id, self.model, self.logged_model_id)

    def versions(self) -> list[Any]:
        return list(self.client.search_model_versions(f"name = '{self.model}'"))

    def aliases(self) -> dict[str, str]:
        return dict(self.client.get_registered_model(self.model).aliases)

    def run(self) -> Any:
        return self.client.get_run(self.run_id)


@dataclass(frozen=True)
class Case:
    """One kind of operation: its request, a later write of the same thing, and what is to be.

    ``effect`` reads what the operation wrote, ``expected`` is what it has to be without a
    successor, ``superseded`` with one.
    """

    name: str
    method: str
    path: str
    operation: Callable[[Scene], AnyOperation]
    effect: Callable[[Scene], object]
    expected: object
    successor: Callable[[Scene], AnyOperation] | None = None
    superseded: object = None

    @property
    def one_request(self) -> bool:
        """Whether the write is a single request, with no look-up before it."""
        return self.name not in (
            "create_experiment",
            "log_artifact",
            "finalize_logged_model",
            "finalize_logged_model as an output",
        )


def tags_of_version(value: str) -> Callable[[Scene], AnyOperation]:
    return lambda scene: SetModelVersionTags(name=scene.model, version="1", tags={"t": value})


def tags_of_model(value: str) -> Callable[[Scene], AnyOperation]:
    return lambda scene: SetRegisteredModelTags(name=scene.model, tags={"t": value})


def tag(value: str) -> Callable[[Scene], AnyOperation]:
    return lambda scene: LogBatch(run_id=scene.run_id, tags={"t": value})


def alias(name: str, version: str) -> Callable[[Scene], AnyOperation]:
    return lambda scene: SetAlias(name=scene.model, alias=name, version=version, force=True)


def file(content: bytes) -> Callable[[Scene], AnyOperation]:
    return lambda scene: LogArtifact(
        run_id=scene.run_id,
        owner=ArtifactOwner(kind="run", id=scene.run_id),
        path="a.txt",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


CASES = [
    Case(
        "create_experiment",
        "POST",
        "/experiments/create",
        lambda scene: CreateExperiment(name=scene.new_name),
        lambda scene: (
            (scene.client.get_experiment_by_name(scene.new_name) or pytest.fail("none")).name
            == scene.new_name
        ),
        True,
    ),
    Case(
        "create_run",
        "POST",
        "/runs/create",
        lambda scene: CreateRun(
            experiment_id=scene.experiment_id,
            run_name=scene.new_name,
            start_time=now_milliseconds(),
            tags={"mlflow.runName": scene.new_name},
        ),
        lambda scene: (
            [
                run.info.run_name
                for run in scene.client.search_runs(
                    [scene.experiment_id],
                    f"attributes.run_name = '{scene.new_name}'",
                    run_view_type=ViewType.ALL,
                )
            ]
            == [scene.new_name]
        ),
        True,
    ),
    Case(
        "log_batch of metrics",
        "POST",
        "/runs/log-batch",
        lambda scene: LogBatch(
            run_id=scene.run_id,
            metrics=tuple(MetricPoint(key="m", value=n, timestamp=n, step=n) for n in range(3)),
        ),
        lambda scene: [
            (point.value, point.timestamp, point.step)
            for point in scene.client.get_metric_history(scene.run_id, "m")
        ],
        [(0.0, 0, 0), (1.0, 1, 1), (2.0, 2, 2)],
    ),
    Case(
        "log_batch of a param",
        "POST",
        "/runs/log-parameter",
        lambda scene: LogBatch(run_id=scene.run_id, params={"p": "1"}),
        lambda scene: scene.run().data.params,
        {"p": "1"},
    ),
    Case(
        "log_batch of a tag",
        "POST",
        "/runs/set-tag",
        tag("old"),
        lambda scene: scene.run().data.tags["t"],
        "old",
        tag("new"),
        "new",
    ),
    Case(
        "update_run of a status",
        "POST",
        "/runs/update",
        lambda scene: UpdateRun(run_id=scene.run_id, status="FAILED", end_time=2),
        lambda scene: (scene.run().info.status, scene.run().info.end_time),
        ("FAILED", 2),
        lambda scene: UpdateRun(run_id=scene.run_id, status="FINISHED", end_time=3),
        ("FINISHED", 3),
    ),
    Case(
        "update_run of a name",
        "POST",
        "/runs/update",
        lambda scene: UpdateRun(run_id=scene.run_id, run_name="old"),
        lambda scene: scene.run().info.run_name,
        "old",
        lambda scene: UpdateRun(run_id=scene.run_id, run_name="new"),
        "new",
    ),
    Case(
        "log_artifact",
        "PUT",
        "/a.txt",
        file(CONTENTS[0]),
        lambda scene: [(f.path, f.file_size) for f in scene.client.list_artifacts(scene.run_id)],
        [("a.txt", 4)],
        file(CONTENTS[1]),
        [("a.txt", 5)],
    ),
    Case(
        "create_logged_model",
        "POST",
        "/logged-models",
        lambda scene: CreateLoggedModel(
            run_id=scene.run_id, experiment_id=scene.experiment_id, name="another"
        ),
        lambda scene: sorted(
            model.name for model in scene.client.search_logged_models([scene.experiment_id])
        ),
        ["another", "model"],
    ),
    Case(
        "finalize_logged_model",
        "PATCH",
        "/logged-models/*",
        lambda scene: FinalizeLoggedModel(run_id=scene.run_id, model_id=scene.logged_model_id),
        lambda scene: (
            str(scene.client.get_logged_model(scene.logged_model_id).status),
            len(scene.run().outputs.model_outputs),
        ),
        ("READY", 1),
    ),
    Case(
        "finalize_logged_model as an output",
        "POST",
        "/runs/outputs",
        lambda scene: FinalizeLoggedModel(run_id=scene.run_id, model_id=scene.logged_model_id),
        lambda scene: len(scene.run().outputs.model_outputs),
        1,
    ),
    Case(
        "create_registered_model",
        "POST",
        "/registered-models/create",
        lambda scene: CreateRegisteredModel(name=scene.new_name, tags={"a": "b"}),
        lambda scene: scene.client.get_registered_model(scene.new_name).tags,
        {"a": "b"},
    ),
    Case(
        "create_model_version",
        "POST",
        "/model-versions/create",
        lambda scene: CreateModelVersion(name=scene.model, source="s3://bucket/third"),
        lambda scene: sorted(str(version.version) for version in scene.versions()),
        ["1", "2", "3"],
    ),
    Case(
        "set_model_version_tags",
        "POST",
        "/model-versions/set-tag",
        tags_of_version("old"),
        lambda scene: scene.client.get_model_version(scene.model, "1").tags["t"],
        "old",
        tags_of_version("new"),
        "new",
    ),
    Case(
        "delete_model_version",
        "DELETE",
        "/model-versions/delete",
        lambda scene: DeleteModelVersion(name=scene.model, version="2"),
        lambda scene: [str(version.version) for version in scene.versions()],
        ["1"],
    ),
    Case(
        "set_registered_model_tags",
        "POST",
        "/registered-models/set-tag",
        tags_of_model("old"),
        lambda scene: scene.client.get_registered_model(scene.model).tags["t"],
        "old",
        tags_of_model("new"),
        "new",
    ),
    Case(
        "set_alias",
        "POST",
        "/registered-models/alias",
        alias("champion", "1"),
        lambda scene: scene.aliases().get("champion"),
        "1",
        alias("champion", "2"),
        "2",
    ),
    Case(
        "delete_alias",
        "DELETE",
        "/registered-models/alias",
        lambda scene: DeleteAlias(name=scene.model, alias="old", force=True),
        lambda scene: scene.aliases().get("old"),
        None,
        alias("old", "2"),
        "2",
    ),
]


def content_of(operation: AnyOperation) -> OpenContent | None:
    """Open the bytes of an artifact of these cases; None for other operations."""
    if not isinstance(operation, LogArtifact):
        return None
    content = next(each for each in CONTENTS if len(each) == operation.size)
    return lambda: BytesIO(content)
