"""What goes over the wire: as a plain client's, with these credentials, touching nothing global."""

import base64
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from hokusai_core.errors import ConfigurationError, UnavailableError
from hokusai_core.operations import (
    CreateModelVersion,
    CreateRun,
    LogBatch,
    MetricPoint,
    UpdateRun,
)
from tests.mlflow_backend.conftest import opened, soon, unique
from tests.support import session
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.stub_server import Answer, StubServer

CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("HOKUSAI_", "MLFLOW_", "PYTEST_"))
}
MakeStub = Callable[..., StubServer]
BATCH = LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))


def request_lines(proxy: FaultProxy) -> list[str]:
    lines = [text.splitlines()[0].rpartition(" ")[0] for text in proxy.requests]
    proxy.requests.clear()
    return lines


def test_as_many_requests_as_a_plain_client(mlflow_server: MlflowServer) -> None:
    with FaultProxy(mlflow_server.port) as proxy:
        client, backend = MlflowClient(proxy.url), opened(proxy.url, request_timeout=20)
        experiment_id = client.create_experiment(unique("requests"))
        name = unique("model")
        client.create_registered_model(name)
        proxy.requests.clear()

        run_id = client.create_run(experiment_id, run_name="plain").info.run_id
        client.log_batch(run_id, [Metric("m", 1.0, 1, 0)], [Param("p", "1")], [RunTag("t", "u")])
        client.set_terminated(run_id, "FINISHED")
        client.update_run(run_id, "FINISHED")
        plain = request_lines(proxy)

        operation = CreateRun(experiment_id=experiment_id, run_name="ours", start_time=1)
        ours_id = backend.write(operation, soon()).primary_id
        points = (MetricPoint(key="m", value=1.0, timestamp=1),)
        backend.write(
            LogBatch(run_id=ours_id, metrics=points, params={"p": "1"}, tags={"t": "u"}), soon()
        )
        backend.write(UpdateRun(run_id=ours_id, status="FINISHED", end_time=2), soon())
        backend.write(UpdateRun(run_id=ours_id, status="FINISHED"), soon())
        ours = request_lines(proxy)
        assert [line for line in plain if "GET" not in line] == ours

        client.create_model_version(name, "s3://b/m", await_creation_for=0)
        assert request_lines(proxy)[-1:] == ["POST /api/2.0/mlflow/model-versions/create"]
        backend.write(CreateModelVersion(name=name, source="s3://b/m"), soon())
        assert request_lines(proxy) == ["POST /api/2.0/mlflow/model-versions/create"]


def test_a_batch_has_the_body_of_a_plain_client(stub: MakeStub) -> None:
    server = stub()
    values = (0.0, -0.0, 1.0, 1 / 3, 1e-320, -1e300, 2.0**60, math.nan, math.inf, -math.inf)
    points = tuple(
        MetricPoint(
            key=f"m/{n} x", value=value, timestamp=2**53 + n, step=(-(2**63), 0, 2**63 - 1)[n % 3]
        )
        for n, value in enumerate(values)
    )
    pairs = {"p": "", "q r": 'a "quoted"\nü \U0001f600'}
    whole = LogBatch(run_id="r", metrics=points, params=pairs, tags=pairs)
    backend, client = opened(server.url), MlflowClient(server.url)
    for batch in (
        whole,
        whole.model_copy(update={"metrics": (), "tags": {}}),
        whole.model_copy(update={"params": {}, "tags": {}}),
    ):
        client.log_batch(
            batch.run_id,
            [Metric(one.key, one.value, one.timestamp, one.step) for one in batch.metrics],
            [Param(*pair) for pair in batch.params.items()],
            [RunTag(*pair) for pair in batch.tags.items()],
        )
        backend.write(batch, soon())
        plain, ours = (json.loads(request.body) for request in server.requests[-2:])
        assert repr(_numbers_as_floats(ours)) == repr(_numbers_as_floats(plain))


def _numbers_as_floats(body: dict[str, Any]) -> dict[str, Any]:
    """MLflow's client writes a number without a fraction with one, or not, as its release likes."""
    for point in body.get("metrics", ()):
        if not isinstance(point["value"], str):
            point["value"] = float(point["value"])
    return {
        name: [dict(sorted(one.items())) for one in body[name]]
        for name in sorted(body)
        if name != "run_id"
    }


def test_credentials_of_mlflow_and_of_this_object(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = stub()
    backend, keyed = opened(server.url), opened(server.url, api_key="our-key")

    def header(handle: object = backend) -> str | None:
        handle.write(BATCH, soon())  # type: ignore[attr-defined]
        return server.requests[-1].headers.get("Authorization")

    assert header() is None
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token")
    assert header() == "Bearer token"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pässword")
    assert header() == "Basic " + base64.b64encode("ada:pässword".encode()).decode()
    assert header(keyed) == "Bearer our-key"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "renewed")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    assert header() == "Bearer renewed"
    assert header(keyed) == "Bearer our-key"


def test_credentials_in_the_address(stub: MakeStub) -> None:
    server = stub()
    address = server.url.replace("http://", "http://ada:word@")
    opened(address).write(BATCH, soon())
    assert server.requests[-1].headers["Authorization"].startswith("Basic ")
    opened(address, api_key="our-key").write(BATCH, soon())
    assert server.requests[-1].headers["Authorization"] == "Bearer our-key"


def test_an_api_key_comes_before_netrc(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = stub()
    opened(server.url, api_key="our-key").write(BATCH, soon())
    assert server.requests[-1].headers["Authorization"] == "Bearer our-key"


def test_cookies_stay_with_their_client(stub: MakeStub) -> None:
    server = stub(Answer(200, b"{}", {"Set-Cookie": "session=secret; Path=/"}))
    first, second = opened(server.url), opened(server.url)
    first.write(BATCH, soon())
    second.write(BATCH, soon())
    assert "Cookie" not in server.requests[-1].headers


def test_a_path_before_the_api_is_kept(stub: MakeStub) -> None:
    server = stub()
    opened(f"{server.url}/prefix/mlflow/").write(BATCH, soon())
    assert server.requests[-1].path == "/prefix/mlflow/api/2.0/mlflow/runs/log-metric"


def test_a_workspace_is_asked_for_once_and_sent(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    server = stub(Answer(200, b'{"workspaces_enabled": true}'), Answer())
    backend = opened(server.url)
    backend.write(BATCH, soon())
    backend.write(BATCH, soon())
    assert [request.method for request in server.requests] == ["GET", "POST", "POST"]
    assert {r.headers["X-MLFLOW-WORKSPACE"] for r in server.requests} == {"team-a"}
    assert backend.destination.endswith("workspace=team-a")


def test_two_clients_live_side_by_side_and_nothing_global_changes(stub: MakeStub) -> None:
    one, other = stub(), stub()
    before = dict(os.environ), mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    first, second = opened(one.url, api_key="first"), opened(other.url, api_key="second")
    for handle in (first, second, first):
        handle.write(BATCH, soon())
    assert [r.headers["Authorization"] for r in one.requests] == ["Bearer first"] * 2
    assert [r.headers["Authorization"] for r in other.requests] == ["Bearer second"]
    after = dict(os.environ), mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    for environment in (before[0], after[0]):
        environment.pop("_MLFLOW_TELEMETRY_SESSION_ID", None)
    assert before == after
    assert mlflow.active_run() is None


def test_opening_imports_no_mlflow_and_touches_no_network() -> None:
    program = (
        "import sys\n"
        "from hokusai_backend_mlflow.plugin import plugin\n"
        "from hokusai_core.backends import open_backend\n"
        "from hokusai_core.plugins import BackendConfig\n"
        "from hokusai_core.settings import Settings\n"
        "open_backend(plugin, BackendConfig(Settings.load(), tracking_uri='http://127.0.0.1:1'))\n"
        "print([name for name in ('mlflow', 'requests', 'sqlalchemy') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_forked_child_opens_connections_of_its_own(stub: MakeStub) -> None:
    server = stub()
    program = (
        "import os\n"
        "from tests.mlflow_backend.conftest import opened, soon\n"
        "from tests.mlflow_backend.test_requests import BATCH\n"
        f"backend = opened({server.url!r})\n"
        "backend.write(BATCH, soon())\n"
        "child = os.fork()\n"
        "backend.write(BATCH, soon())\n"
        "if child == 0: os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "backend.write(BATCH, soon())\n"
    )
    done = session.run("-c", program, environment=CLEAN)
    assert done.returncode == 0, done.stderr
    peers = [request.peer for request in server.requests]
    assert len(peers) == 4
    assert len(set(peers)) == 2


@pytest.mark.parametrize(
    "content", [b"mlflow_tracking_us", b"[mlflow]\nname \xff = 1", b"[mlflow]\nhalf"]
)
def test_a_file_of_credentials_that_cannot_be_read_is_an_outage_and_nothing_is_sent(
    stub: MakeStub, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_bytes(content)
    server = stub()
    backend = opened(server.url)
    with pytest.raises(
        UnavailableError, match=r"~/\.mlflow/credentials.*nothing was sent"
    ) as caught:
        backend.write(BATCH, soon())
    assert not caught.value.maybe_applied
    assert server.requests == []
    file.write_text("[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = word\n")
    backend.write(BATCH, soon())
    assert server.requests[-1].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("MLFLOW_TRACKING_SERVER_CERT_PATH", "ca.pem"), ("MLFLOW_TRACKING_AWS_SIGV4", "perhaps")],
)
def test_variables_of_mlflows_that_cannot_be_used_are_a_wrong_setting(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    monkeypatch.setenv(name, value)
    server = stub()
    with pytest.raises(ConfigurationError, match=name):
        opened(server.url).write(BATCH, soon())
    assert server.requests == []
