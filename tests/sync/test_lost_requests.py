"""Requests whose answer is lost, and requests that reach the server after the client gave up.

Every kind of operation meets both, on a real server, through a proxy. In the end each effect is
there once, and the last writer's value stays.
"""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hokusai_core import ModelRegistry, Settings
from hokusai_core.draining import DrainReport
from hokusai_core.journal import EntryQuery
from hokusai_core.operations import (
    AnyOperation,
)
from hokusai_core.runtime import Runtime
from tests.support.late_proxy import Fault, LateProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.operation_cases import CASES, Scene, content_of
from tests.sync.workload import destination_settings

WINDOW_SECONDS = 4.0


@dataclass
class Line:
    """The way from a process through the proxy to the server."""

    proxy: LateProxy
    runtime: Runtime

    def write(self, operation: AnyOperation) -> str:
        return self.runtime.router.write(operation, content_of(operation)).state

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
