"""Requests whose answer is lost, and requests that reach the server after the client gave up.

Every kind of operation meets both, on a real server, through a proxy. In the end each effect is
there once, and the last writer's value stays.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from hokusai_core import ModelRegistry, Settings
from hokusai_core.draining import DrainReport
from hokusai_core.journal import EntryQuery
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
from hokusai_core.runtime import Runtime
from tests.support.late_proxy import Fault, LateProxy
from tests.support.mlflow_server import MlflowServer
from tests.sync.workload import destination_settings, unique

WINDOW_SECONDS = 4.0
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


@dataclass
class Line:
    """The way from a process through the proxy to the server."""

    proxy: LateProxy
    runtime: Runtime

    def write(self, operation: AnyOperation) -> str:
        if isinstance(operation, LogArtifact):
            content = next(each for each in CONTENTS if len(each) == operation.size)
            return self.runtime.router.write(operation, lambda: BytesIO(content)).state
        return self.runtime.router.write(operation).state

    def waiting(self, operations: list[AnyOperation]) -> set[str]:
        """The ``op_id`` of those that wait."""
        assert self.runtime.fallback is not None
        op_ids = tuple(each.op_id for each in operations)
        return {each.op_id for each in self.runtime.fallback.read(EntryQuery(op_ids=op_ids))}

    def drain(self, wait_seconds: float = 0.0) -> DrainReport:
        return self.runtime.drain().run(wait_seconds=wait_seconds, stop=threading.Event())


@pytest.fixture
def scenes(mlflow_server: MlflowServer) -> dict[str, Scene]:
    """For each case one of its own, so that all can go on at the same time."""
    client = MlflowClient(mlflow_server.url)
    return {case.name: Scene(client) for case in CASES}


@pytest.fixture
def line(mlflow_server: MlflowServer, tmp_path: Path) -> Iterator[Line]:
    settings = destination_settings(tmp_path / "data") | {
        "request_timeout": 1.0,
        "write_timeout": 1.0,
        "artifact_idle_timeout": 1.0,
        "attempts": 1,
        "late_effect_seconds": WINDOW_SECONDS,
        "circuit_failures": 1000,
        "sync_threads": len(CASES),
    }
    with LateProxy(mlflow_server.port) as proxy:
        runtime = ModelRegistry(proxy.url, settings=Settings.load(**settings)).runtime
        yield Line(proxy, runtime)
        runtime.close_connections()


def write_at_once(line: Line, operations: Iterable[AnyOperation]) -> None:
    """Write them from as many threads; each has to be kept in the journal."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        assert set(pool.map(line.write, operations)) == {"pending"}


def those_that_wait(operations: list[AnyOperation]) -> set[str]:
    """Which are not sent again before the window is over."""
    return {each.op_id for each in operations if each.late_effects_matter}


def deliver_the_rest(line: Line) -> None:
    report = line.drain(wait_seconds=20)
    assert (report.dead, report.left) == (0, 0), report.reasons


def effects(scenes: dict[str, Scene]) -> dict[str, object]:
    return {case.name: case.effect(scenes[case.name]) for case in CASES}


EXPECTED = {case.name: case.superseded if case.successor else case.expected for case in CASES}


@pytest.mark.parametrize(
    "fault", ["drop_answer", pytest.param("reset_after", marks=pytest.mark.soak)]
)
def test_answers_that_are_lost(fault: Fault, scenes: dict[str, Scene], line: Line) -> None:
    for case in CASES:
        scene = scenes[case.name]
        trap = line.proxy.trap(case.method, case.path, fault, *scene.marks)
        assert (case.name, line.write(case.operation(scene))) == (case.name, "pending")
        trap.wait()
        if case.successor:
            assert line.write(case.successor(scene)) == "pending"
    deliver_the_rest(line)
    assert effects(scenes) == EXPECTED


def test_requests_that_arrive_late(scenes: dict[str, Scene], line: Line) -> None:
    """They arrive before the next attempt where that waits for them, and after it elsewhere."""
    traps = [
        line.proxy.trap(case.method, case.path, "late", *scenes[case.name].marks) for case in CASES
    ]
    operations = [case.operation(scenes[case.name]) for case in CASES]
    write_at_once(line, operations)
    for case in CASES:
        if case.successor:
            assert line.write(case.successor(scenes[case.name])) == "pending"
    line.drain()
    assert line.waiting(operations) == those_that_wait(operations)
    for trap in traps:
        trap.deliver()
    deliver_the_rest(line)
    assert effects(scenes) == EXPECTED


def test_requests_of_a_worker_that_arrive_late(scenes: dict[str, Scene], line: Line) -> None:
    """The worker had the successor behind it in one claim."""
    line.proxy.mode = "refuse"
    operations = [case.operation(scenes[case.name]) for case in CASES]
    write_at_once(line, operations)
    for case in CASES:
        if case.successor:
            assert line.write(case.successor(scenes[case.name])) == "pending"
    line.proxy.mode = "pass"
    traps = [
        line.proxy.trap(case.method, case.path, "late", *scenes[case.name].marks) for case in CASES
    ]
    line.drain()
    assert line.waiting(operations) >= those_that_wait(operations)
    for trap in traps:
        trap.deliver()
    deliver_the_rest(line)
    assert effects(scenes) == EXPECTED
