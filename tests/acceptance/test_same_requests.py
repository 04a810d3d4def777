"""With a healthy server a tracking write makes the requests of a plain client, and no others.

Metrics, params and tags go as batches: ``MlflowClient.log_batch``, of one member where one was logged.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from hokusai_core import RunHandle
from tests.acceptance.conftest import MakeManager
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer


class Wire:
    """A plain client and a run handle before one proxy, each with a run of its own."""

    def __init__(self, proxy: FaultProxy, make_manager: MakeManager) -> None:
        self.proxy = proxy
        self.name = f"requests {uuid.uuid4().hex[:12]}"
        self.client = MlflowClient(proxy.url, proxy.url)
        self.client.get_experiment_by_name(self.name)
        experiment_id = self.client.create_experiment(self.name)
        self.plain_id = self.client.create_run(experiment_id).info.run_id
        self.plain_start = self.requests()
        self.manager = make_manager(f"{self.name} too", proxy.url)
        self.run: RunHandle = self.manager.start_run()
        self.our_start = self.requests()

    def requests(self) -> list[str]:
        """Give method and path of what was asked since the last call, whatever the ids in it."""
        lines = [text.splitlines()[0].rpartition(" ")[0] for text in self.proxy.requests]
        self.proxy.requests.clear()
        return [_without_ids(line) for line in lines]


def _without_ids(line: str) -> str:
    parts = line.partition("?")[0].split("/")
    return "/".join("*" if len(part) == 32 or part.isdigit() else part for part in parts)


@pytest.fixture
def wire(mlflow_server: MlflowServer, make_manager: MakeManager) -> Iterator[Wire]:
    with FaultProxy(mlflow_server.port) as proxy:
        yield Wire(proxy, make_manager)


def test_every_write_makes_the_requests_of_a_plain_client(wire: Wire, tmp_path: Path) -> None:
    client, plain_id, run = wire.client, wire.plain_id, wire.run
    file = tmp_path / "small.txt"
    file.write_text("small")
    assert wire.our_start == wire.plain_start

    pairs = [
        (
            lambda: client.log_metric(plain_id, "m", 1.0),
            lambda: run.log_metric("m", 1.0),
        ),
        (
            lambda: client.log_batch(plain_id, [Metric(f"m{n}", n, 1, 2) for n in range(99)]),
            lambda: run.log_metrics({f"m{n}": n for n in range(99)}, step=2),
        ),
        (
            lambda: client.log_param(plain_id, "p", 1),
            lambda: run.log_param("p", 1),
        ),
        (
            lambda: client.log_batch(plain_id, params=[Param("q", "1"), Param("r", "2")]),
            lambda: run.log_params({"q": 1, "r": 2}),
        ),
        (
            lambda: client.set_tag(plain_id, "t", 1),
            lambda: run.set_tag("t", 1),
        ),
        (
            lambda: client.log_batch(plain_id, tags=[RunTag("u", "1"), RunTag("v", "2")]),
            lambda: run.set_tags({"u": 1, "v": 2}),
        ),
        # The first file asks for the run's artifact root, the next does not.
        (lambda: client.log_artifact(plain_id, str(file)), lambda: run.log_artifact(file)),
        (
            lambda: client.log_artifact(plain_id, str(file), "deep/er"),
            lambda: run.log_artifact(file, "deep/er"),
        ),
        (lambda: client.log_text(plain_id, "t", "t.txt"), lambda: run.log_text("t", "t.txt")),
        (
            lambda: client.log_dict(plain_id, {"a": 1}, "a.json"),
            lambda: run.log_dict({"a": 1}, "a.json"),
        ),
    ]
    for number, (plainly, ours) in enumerate(pairs):
        plainly()
        expected = wire.requests()
        ours()
        assert wire.requests() == expected, f"pair {number}"
        assert len(expected) in (1, 2)

    # A plain client reads the run first, and then sends the same.
    for plainly, ours in (
        (lambda: client.update_run(plain_id, name="renamed"), lambda: run.set_name("renamed")),
        (lambda: client.set_terminated(plain_id, "FINISHED"), run.end),
    ):
        plainly()
        assert wire.requests()[-1:] == ["POST /api/2.0/mlflow/runs/update"]
        ours()
        assert wire.requests() == ["POST /api/2.0/mlflow/runs/update"]

    wire.manager.start_run().end()
    assert wire.requests() == [
        "POST /api/2.0/mlflow/runs/create",
        "POST /api/2.0/mlflow/runs/update",
    ]
    assert not (tmp_path / "data").exists()


def test_nothing_but_the_primary_is_touched_by_a_healthy_run(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a database that is there: nobody connects to the journal's address."""
    with FaultProxy(mode="black_hole") as database:
        monkeypatch.setenv("HOKUSAI_DATABASE_URL", f"postgresql://u:p@127.0.0.1:{database.port}/d")
        connections = database.connections
        manager = type(wire.manager)(wire.name, wire.proxy.url)
        with manager.start_run() as run, manager.start_run(nested=True) as child:
            run.log_metrics({"loss": 0.5})
            child.log_text("text", "a.txt")
            assert (run.sync_state, child.sync_state) == ("delivered", "delivered")
        assert database.connections == connections == 0
        assert not manager.runtime.drainer.running
        assert not (tmp_path / "data").exists()
        manager.runtime.close_connections()
