"""Every kind of operation, read and write, meets every way to fail (the table in ``table.py``).

For each: what the caller gets, within which time, what the journal holds, and what the server holds
before and after the delivery. Normally each fault meets one kind of read and one of write, in turn;
marked ``soak``, each meets each.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hokusai_core import ExperimentManager, ModelRegistry
from hokusai_core.errors import (
    BackendError,
    InvalidInputError,
    NotFoundError,
    RejectedError,
    TransientError,
)
from hokusai_core.journal import EntryQuery, QueuedOperation
from hokusai_core.operations import LogBatch
from tests.faults.conftest import CALM, MakeRegistry
from tests.faults.table import ALREADY_SO, FAULTS, Fault
from tests.support.certificates import server_context, write_certificate
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.operation_cases import CASES, Case, Scene, content_of
from tests.support.stub_server import StubServer
from tests.support.waiting import wait_for

TIGHT = {
    "connect_timeout": 0.3,
    "request_timeout": 0.3,
    "write_timeout": 0.4,
    "read_timeout": 0.4,
    "artifact_idle_timeout": 0.3,
}
SLACK_SECONDS = 5.0
"""For a busy machine; far below what the budgets of a healthy call would allow."""


@dataclass(frozen=True)
class Read:
    """One kind of read; a search answers from what waits where the server cannot be asked."""

    name: str
    call: Callable[[ModelRegistry, Scene, Path], object]
    search: bool = False


def manager(registry: ModelRegistry, scene: Scene) -> ExperimentManager:
    return ExperimentManager(registry, experiment_name=scene.new_name)


READS = (
    Read("get_run", lambda registry, scene, _: manager(registry, scene).get_run(scene.run_id)),
    Read("model", lambda registry, scene, _: registry.get_registered_model(scene.model)),
    Read(
        "history",
        lambda registry, scene, _: manager(registry, scene).get_metric_history(scene.run_id, "m"),
    ),
    Read("version", lambda registry, scene, _: registry.get_model_version(scene.model, "1")),
    Read(
        "artifacts",
        lambda registry, scene, _: manager(registry, scene).list_artifacts(scene.run_id),
    ),
    Read(
        "alias",
        lambda registry, scene, _: registry.get_model_version_by_alias(scene.model, "old"),
    ),
    Read(
        "download",
        lambda registry, scene, folder: manager(registry, scene).download_artifacts(
            scene.run_id, "a.txt", folder
        ),
    ),
    Read(
        "versions",
        lambda registry, scene, _: registry.search_model_versions(scene.model),
        search=True,
    ),
    Read("runs", lambda registry, scene, _: manager(registry, scene).search_runs(), search=True),
    Read("models", lambda registry, *_: registry.list_registered_models(), search=True),
)


@dataclass
class Trial:
    """One fault between a process and the server."""

    fault: Fault
    registry: ModelRegistry
    healthy: ModelRegistry
    begin: Callable[[], None]
    end: Callable[[], None]
    seconds: dict[str, float]

    def prove(self, scene: Scene) -> None:
        """Let these credentials write once."""
        proof = LogBatch(run_id=scene.run_id, tags={"proof": "1"})
        assert self.registry.runtime.router.write(proof).state == "delivered"

    def timed(self, budget: str, function: Callable[[], Any]) -> Any:
        """Call, and see that it took no longer than its budget allows."""
        began = time.monotonic()
        try:
            return function()
        finally:
            assert time.monotonic() - began < self.seconds[budget] + SLACK_SECONDS

    def waiting(self, op_id: str) -> tuple[QueuedOperation, ...]:
        fallback = self.registry.runtime.fallback
        assert fallback is not None
        states = ("waiting", "dead", "delivered", "discarded", "superseded")
        found = fallback.read(EntryQuery(op_ids=(op_id,), states=states))
        return tuple(entry for entry in found if entry.state != "delivered")

    def deliver(self) -> None:
        """Deliver what waits, as ``hokusai sync`` does, past the fault."""
        report = self.healthy.runtime.drain().run(wait_seconds=60.0, stop=threading.Event())
        assert (report.left, report.dead) == (0, 0), report.reasons


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "expired.pem", days=-1)


@pytest.fixture
def make_trial(
    mlflow_server: MlflowServer,
    make_registry: MakeRegistry,
    expired: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Fault], Trial]]:
    opened: list[FaultProxy | StubServer] = []

    def make(fault: Fault) -> Trial:
        short = TIGHT if fault.slow else {}
        # The circuit stays closed, so that each call meets the fault itself.
        settings = short | {"late_effect_seconds": 0.2, "circuit_failures": 1000}
        healthy = make_registry(mlflow_server.url, late_effect_seconds=0.2)
        if fault.tls:
            monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(expired))
            stub = StubServer(tls=server_context(expired))
            opened.append(stub)
            registry = make_registry(stub.url, **settings)
            return Trial(fault, registry, healthy, bool, bool, CALM | short)
        proxy = FaultProxy(mlflow_server.port)
        opened.append(proxy)
        proxy.canned = fault.answer
        return Trial(
            fault,
            make_registry(proxy.url, **settings),
            healthy,
            lambda: setattr(proxy, "mode", fault.mode),
            lambda: setattr(proxy, "mode", "pass"),
            CALM | short,
        )

    yield make
    for each in opened:
        each.close()


def on_server(case: Case, scene: Scene) -> bool:
    """Whether the server holds what the operation writes, once."""
    try:
        return bool(case.effect(scene) == case.expected)
    except (MlflowException, KeyError, AttributeError, pytest.fail.Exception):
        return False


def try_read(trial: Trial, read: Read, scene: Scene, folder: Path) -> None:
    fault = trial.fault

    def call() -> object:
        return read.call(trial.registry, scene, folder)

    if read.search and issubclass(fault.read, TransientError):
        # It gives what waits.
        assert trial.timed("read_timeout", call) in ((), [])
        return
    if read.name == "runs" and fault.read is NotFoundError:
        # There is no such experiment, so it has no runs.
        assert trial.timed("read_timeout", call) in ((), [])
        return
    with pytest.raises((fault.read, InvalidInputError)) as caught:
        trial.timed("read_timeout", call)
    if isinstance(caught.value, InvalidInputError):
        assert read.search
        assert fault.read is RejectedError


def try_write(trial: Trial, case: Case, scene: Scene) -> None:
    """Write while the fault is there, see what became of it, let it heal, and deliver."""
    fault = trial.fault
    operation = case.operation(scene)

    def call() -> str:
        return trial.registry.runtime.router.write(operation, content_of(operation)).state

    if (fault.name, case.name) in ALREADY_SO:
        assert trial.timed("write_timeout", call) == "delivered"
        return
    if fault.write is not None:
        with pytest.raises(fault.write) as caught:
            trial.timed("write_timeout", call)
        assert isinstance(caught.value, BackendError)
        assert trial.waiting(operation.op_id) == ()
        assert not on_server(case, scene) or case.expected is None
        return
    assert trial.timed("write_timeout", call) == "pending"
    (entry,) = trial.waiting(operation.op_id)
    assert (entry.state, entry.maybe_applied) == ("waiting", fault.marked)
    if not fault.arrives and case.expected is not None:
        assert not on_server(case, scene)
    if fault.arrives and case.one_request:
        assert wait_for(lambda: on_server(case, scene), 20.0)
    trial.end()
    trial.deliver()
    assert trial.waiting(operation.op_id) == ()
    assert on_server(case, scene), case.effect(scene)
    trial.begin()


def numbered(faults: tuple[Fault, ...]) -> list[Any]:
    return [pytest.param(number, fault, id=fault.name) for number, fault in enumerate(faults)]


@pytest.mark.parametrize(("number", "fault"), numbered(FAULTS))
def test_each_fault(
    make_trial: Callable[[Fault], Trial],
    client: MlflowClient,
    tmp_path: Path,
    number: int,
    fault: Fault,
) -> None:
    trial, scene = make_trial(fault), Scene(client)
    if fault.proven:
        trial.prove(scene)
    trial.begin()
    try_read(trial, READS[number % len(READS)], scene, tmp_path)
    try_write(trial, CASES[number % len(CASES)], scene)


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_kind_meets_each_fault(
    make_trial: Callable[[Fault], Trial], client: MlflowClient, tmp_path: Path, fault: Fault
) -> None:
    trial = make_trial(fault)
    scenes = {case.name: Scene(client) for case in CASES}
    if fault.proven:
        trial.prove(Scene(client))
    trial.begin()
    for read in READS:
        try_read(trial, read, scenes["create_run"], tmp_path)
    for case in CASES:
        try_write(trial, case, scenes[case.name])


def test_every_kind_of_read_and_write_is_in_the_normal_choice() -> None:
    assert len(FAULTS) >= max(len(CASES), len(READS))
