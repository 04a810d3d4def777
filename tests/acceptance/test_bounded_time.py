"""However the server fails: calls end within their budgets, nothing raises, all arrives once."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from hokusai_core import ExperimentManager
from tests.acceptance.conftest import MakeManager
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.mlflow_server import MlflowServer

WRITE_SECONDS = 2.0
SLACK_SECONDS = 1.5
BUDGETS = {
    "connect_timeout": 0.5,
    "request_timeout": 1.0,
    "write_timeout": WRITE_SECONDS,
    "artifact_idle_timeout": WRITE_SECONDS,
}
NEVER_ASK_AGAIN = {"circuit_open_seconds": 600.0, "circuit_open_max_seconds": 600.0}
HTML = b"<html><body>proxy</body></html>"


def page(status: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(HTML)}\r\n\r\n"
    return head.encode() + HTML


FAILURES: dict[str, tuple[Mode, bytes]] = {
    "refuse": ("refuse", b""),
    "black hole": ("black_hole", b""),
    "reset before": ("reset_before", b""),
    "drip": ("drip", b""),
    "hold answer": ("hold_answer", b""),
    "drop answer": ("drop_answer", b""),
    "reset after": ("reset_after", b""),
    "cut body": ("cut_body", b""),
    "502 page": ("canned", page("502 Bad Gateway")),
    "404 page": ("canned", page("404 Not Found")),
    "200 page": ("canned", page("200 OK")),
}


@dataclass
class Job:
    """A manager before a proxy, whose calls are measured."""

    proxy: FaultProxy
    manager: ExperimentManager
    client: MlflowClient
    slowest: float = field(default=0.0)

    def fail(self, name: str) -> None:
        mode, answer = FAILURES[name]
        self.proxy.canned = answer or self.proxy.canned
        self.proxy.mode = mode

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)

    def deliver(self, make_manager: MakeManager) -> None:
        """Let the server answer, and another worker deliver, as ``hokusai sync`` does."""
        self.proxy.mode = "pass"
        worker = make_manager(self.manager.experiment_name, self.proxy.url, auto_sync=False)
        report = worker.runtime.drain().run(wait_seconds=30.0, stop=threading.Event())
        assert (report.left, report.dead) == (0, 0), report.reasons
        again = worker.runtime.drain().run(wait_seconds=0.0, stop=threading.Event())
        assert (again.delivered, again.left) == (0, 0)

    def runs(self, name: str) -> list[Run]:
        """Ask the server itself for the runs of a name."""
        experiment = self.client.get_experiment_by_name(self.manager.experiment_name)
        found = self.client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
        return [run for run in found if run.info.run_name == name]


@pytest.fixture
def job(mlflow_server: MlflowServer, make_manager: MakeManager) -> Iterator[Job]:
    """The experiment is there already, and the circuit does not try again by itself."""
    name = f"bounded {uuid.uuid4().hex[:12]}"
    client = MlflowClient(mlflow_server.url, mlflow_server.url)
    client.create_experiment(name)
    with FaultProxy(mlflow_server.port) as proxy:
        manager = make_manager(name, proxy.url, auto_sync=False, **(BUDGETS | NEVER_ASK_AGAIN))
        yield Job(proxy, manager, client)


@pytest.mark.parametrize("name", FAILURES)
def test_a_run_goes_on_whatever_the_server_does(
    job: Job, make_manager: MakeManager, tmp_path: Path, name: str
) -> None:
    run = job.manager.start_run(run_name="goes on")
    job.fail(name)
    job.call(run.log_metric, "loss", 0.9, step=0)
    assert job.slowest < WRITE_SECONDS + SLACK_SECONDS
    job.slowest = 0.0
    job.call(run.log_text, "first", "first.txt")
    assert job.slowest < WRITE_SECONDS + SLACK_SECONDS

    connections, requests = job.proxy.connections, len(job.proxy.requests)
    job.slowest = 0.0
    for step in range(1, 8):
        job.call(run.log_metric, "loss", 0.9 - step / 10, step=step)
    job.call(run.log_params, {"lr": 0.1, "layers": 3})
    job.call(run.set_tag, "stage", "early")
    job.call(run.set_tag, "stage", "late")
    job.call(run.log_text, "second", "second.txt")
    job.call(run.end)
    with job.call(job.manager.start_run, run_name="began in the failure") as other:
        job.call(other.log_metric, "loss", 1.0)
    assert job.slowest < SLACK_SECONDS
    assert (job.proxy.connections, len(job.proxy.requests)) == (connections, requests)
    assert run.sync_state == other.sync_state == "pending"

    job.deliver(make_manager)
    (first,), (second,) = job.runs("goes on"), job.runs("began in the failure")
    assert (first.info.status, second.info.status) == ("FINISHED", "FINISHED")
    assert first.data.params == {"lr": "0.1", "layers": "3"}
    assert first.data.tags["stage"] == "late"
    assert second.data.metrics == {"loss": 1.0}
    points = job.client.get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [
        (step, pytest.approx(0.9 - step / 10)) for step in range(8)
    ]
    for text in ("first", "second"):
        path = job.client.download_artifacts(run.run_id, f"{text}.txt", str(tmp_path))
        assert Path(path).read_text() == text


@pytest.mark.parametrize("name", ["drop answer", "hold answer", "cut body", "reset after", "drip"])
def test_a_run_whose_answer_is_lost_is_on_the_server_once(
    job: Job, make_manager: MakeManager, name: str
) -> None:
    """The server carries the creation out, and the client never learns of it."""
    job.manager.start_run(run_name="makes the experiment known").end()
    job.fail(name)
    with job.call(job.manager.start_run, run_name="lost answer", tags={"team": "a"}) as run:
        run.log_metric("loss", 0.5)
    assert job.slowest < WRITE_SECONDS + SLACK_SECONDS
    assert run.primary_id is None
    (made,) = job.runs("lost answer")
    job.deliver(make_manager)
    (found,) = job.runs("lost answer")
    assert found.info.run_id == made.info.run_id == run.primary_id
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 0.5})
    assert found.info.start_time == run.info.start_time
