"""A server that is away a tenth of the time, in windows of each kind of failure.

Every call of a job succeeds, and each record is on the server once within half a minute of the last
recovery. The long form measures a plain client beside it, which is what people have without.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from hokusai_core import ExperimentManager
from tests.faults.conftest import MakeRegistry
from tests.faults.table import FAULTS, Fault, page
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.waiting import wait_for

T = TypeVar("T")
OUTAGES = (
    *(fault for fault in FAULTS if fault.write is None and fault.name != "503 with Retry-After"),
    # The server is left alone as long as it asks for; what it asks for here ends with the test.
    Fault("503 with Retry-After", answer=page("503 Service Unavailable", "Retry-After: 2")),
)
QUICK = (
    "refused",
    "closed after the request",
    "truncated body",
    "answer held back",
    "401 after a success",
    "404 of a proxy",
    "429",
    "502",
    "200 with HTML",
    "redirect to a login page",
)
SETTINGS = {
    "auto_sync": True,
    "request_timeout": 2.0,
    "write_timeout": 2.5,
    "read_timeout": 2.5,
    "artifact_idle_timeout": 2.0,
    "circuit_open_seconds": 0.2,
    "circuit_open_max_seconds": 0.5,
}


@dataclass
class Schedule:
    """Switches the server off for a tenth of each block of calls, each time by another fault."""

    proxy: FaultProxy
    faults: tuple[Fault, ...]
    block: int
    calls: int = 0

    def next(self) -> None:
        """Come to the next call."""
        number, place = divmod(self.calls, self.block)
        self.calls += 1
        if place == self.block // 2:
            fault = self.faults[number % len(self.faults)]
            self.proxy.canned = fault.answer
            self.proxy.mode = fault.mode
        elif place == self.block // 2 + self.block // 10:
            self.proxy.mode = "pass"


@dataclass
class Job:
    """A job of many calls; each is counted, and none may raise."""

    manager: ExperimentManager
    before_each: Callable[[], None]
    model: str
    runs: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def round(self, number: int) -> None:
        """One run: twenty calls of all kinds."""
        call, registry = self.call, self.manager.registry
        run = call(lambda: self.manager.start_run(run_name=f"run {number}"))
        self.runs.append(run.run_id)
        call(lambda: run.log_params({"number": number}))
        for step in range(10):
            call(lambda step=step: run.log_metric("loss", step / 8, step=step))
        call(lambda: run.set_tag("stage", "early"))
        call(lambda: run.log_text(str(number), "number.txt"))
        assert call(run.get).data.params == {"number": str(number)}
        call(lambda: run.set_tag("stage", "late"))
        version = call(lambda: registry.register_model(f"s3://bucket/{number}", self.model))
        call(
            lambda: registry.set_model_version_tags(
                self.model, version.version, {"number": str(number)}
            )
        )
        call(lambda: run.log_metrics({"accuracy": 0.5, "auroc": 0.75}))
        call(run.end)

    def call(self, function: Callable[[], T]) -> T:
        """Make one call."""
        self.before_each()
        began = time.monotonic()
        result = function()
        self.slowest = max(self.slowest, time.monotonic() - began)
        return result


def check_server(client: MlflowClient, name: str, rounds: int, folder: Path) -> None:
    """Everything is there, and nothing twice."""
    experiment_id = client.get_experiment_by_name(name).experiment_id
    runs = client.search_runs([experiment_id], run_view_type=ViewType.ALL)
    assert sorted(run.info.run_name for run in runs) == sorted(f"run {n}" for n in range(rounds))
    for run in runs:
        number = run.info.run_name.removeprefix("run ")
        assert run.info.status == "FINISHED"
        assert run.data.params == {"number": number}
        assert run.data.tags["stage"] == "late"
        points = client.get_metric_history(run.info.run_id, "loss")
        assert [(point.step, point.value) for point in points] == [(n, n / 8) for n in range(10)]
        assert (run.data.metrics["accuracy"], run.data.metrics["auroc"]) == (0.5, 0.75)
        (file,) = client.list_artifacts(run.info.run_id)
        assert (file.path, file.file_size) == ("number.txt", len(number))
    versions = client.search_model_versions(f"name = '{name}'")
    assert sorted((each.source, each.tags["number"]) for each in versions) == sorted(
        (f"s3://bucket/{number}", str(number)) for number in range(rounds)
    )


def run_job(
    server: MlflowServer,
    client: MlflowClient,
    make_registry: MakeRegistry,
    folder: Path,
    *,
    rounds: int,
    faults: tuple[Fault, ...],
    block: int,
    pace: float,
    late_effect_seconds: float,
    delivered_within: float,
    beside: Callable[[str], None] = lambda url: None,
) -> Job:
    name = f"availability {uuid.uuid4().hex[:12]}"
    client.create_experiment(name)
    with FaultProxy(server.port) as proxy:
        registry = make_registry(
            proxy.url, **(SETTINGS | {"late_effect_seconds": late_effect_seconds})
        )
        manager = ExperimentManager(registry, experiment_name=name)
        schedule = Schedule(proxy, faults, block)
        pause = threading.Event()

        def before_each() -> None:
            pause.wait(pace)
            schedule.next()

        beside(proxy.url)
        job = Job(manager, before_each, name)
        for number in range(rounds):
            job.round(number)
        assert schedule.calls == rounds * 20
        proxy.mode = "pass"
        assert wait_for(lambda: manager.runtime.waiting() == 0, delivered_within)
        check_server(client, name, rounds, folder)
    return job


def test_every_call_succeeds_and_everything_arrives_once(
    mlflow_server: MlflowServer,
    client: MlflowClient,
    make_registry: MakeRegistry,
    tmp_path: Path,
) -> None:
    faults = tuple(fault for fault in OUTAGES if fault.name in QUICK)
    assert len(faults) == len(QUICK)
    run_job(
        mlflow_server,
        client,
        make_registry,
        tmp_path,
        rounds=10,
        faults=faults,
        block=20,
        pace=0.0,
        late_effect_seconds=3.0,
        delivered_within=60.0,
    )


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_thousand_calls(
    mlflow_server: MlflowServer,
    client: MlflowClient,
    make_registry: MakeRegistry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With ``-s`` it prints the figures that the documentation states."""
    plain = PlainClient()
    job = run_job(
        mlflow_server,
        client,
        make_registry,
        tmp_path,
        rounds=100,
        faults=OUTAGES,
        block=50,
        pace=0.03,
        late_effect_seconds=5.0,
        delivered_within=30.0,
        beside=plain.start,
    )
    plain.stop()
    with capsys.disabled():
        print(f"\nours: 2000 of 2000 calls, the slowest {job.slowest:.1f} s")
        print(f"plain client: {plain}")
    assert plain.failed > 0


class PlainClient:
    """MLflow's own client beside the job, with its default settings, through the same proxy."""

    def __init__(self) -> None:
        self.calls = self.failed = 0
        self.slowest = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __str__(self) -> str:
        share = 100 * (self.calls - self.failed) / max(1, self.calls)
        return f"{share:.1f} % of {self.calls} calls succeeded, the slowest {self.slowest:.1f} s"

    def start(self, url: str) -> None:
        client = MlflowClient(url, url)
        experiment_id = client.create_experiment(f"plain {uuid.uuid4().hex}")
        run_id = client.create_run(experiment_id).info.run_id

        def work() -> None:
            while not self._stop.wait(0.03):
                began = time.monotonic()
                self.calls += 1
                try:
                    client.log_metric(run_id, "loss", 0.5, step=self.calls)
                except Exception:  # noqa: BLE001 - whatever it is, a job would have ended by it
                    self.failed += 1
                self.slowest = max(self.slowest, time.monotonic() - began)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(300.0)
