"""The registration event: once the version is real, durable, retried, and sent again on command."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hokusai_core import (
    ConfigurationError,
    ModelRegistry,
    RejectedError,
    Settings,
    SyncQueue,
    status,
)
from hokusai_core.entities import ModelVersion
from hokusai_core.event_operations import AnnounceRegistration, event_id
from hokusai_core.operations import dump_operation, load_operation
from hokusai_core.registration_events import KIND, RegistrationEvent
from hokusai_core.testing import MockBackend
from tests.support import session
from tests.support.ports import free_port
from tests.support.stub_server import Answer, Request, StubServer
from tests.support.waiting import wait_for

FIELDS: dict[str, Any] = {
    "token_id": "HLEAD",
    "proposal_identifier": "HIP-7",
    "metric_name": "accuracy",
    "baseline_value": 0.1342,
}
KEY = "a-key-that-nobody-may-see"
FAST = {"circuit_open_seconds": 0.05, "circuit_open_max_seconds": 0.1, "late_effect_seconds": 0.1}


class Bench:
    """A registry on a mock server, with a journal in a file and an endpoint."""

    def __init__(self, folder: Path, endpoint: str, **settings: Any) -> None:
        self.mock = MockBackend()
        self.settings = Settings.load(
            **{
                "events_endpoint": endpoint,
                "api_key": KEY,
                "fallback": "sql",
                "data_dir": folder,
                **FAST,
                **settings,
            }
        )
        self.registry = ModelRegistry(backend=self.mock, settings=self.settings)

    @property
    def events(self) -> Any:
        return self.registry.runtime.registration_events

    def register(self, **fields: Any) -> tuple[ModelVersion, RegistrationEvent]:
        version = self.registry.register_model(
            "s3://bucket/model", "lead scoring", tags={"hokusai_token_id": "HLEAD"}
        )
        return version, self.events.announce(version, **(FIELDS | fields))

    def drain(self, wait_seconds: float = 5.0) -> Any:
        return self.registry.runtime.drain().run(wait_seconds=wait_seconds, stop=threading.Event())

    def close(self) -> None:
        self.registry.runtime.drainer.stop(5.0)
        self.registry.runtime.close_connections()


@pytest.fixture
def endpoint() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, endpoint: StubServer) -> Iterator[Bench]:
    made = Bench(tmp_path, endpoint.url)
    yield made
    made.close()


def body_of(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.body)
    return found


def test_in_health_it_is_sent_at_once(bench: Bench, endpoint: StubServer) -> None:
    version, event = bench.register(mlflow_run_id="run-1", eval_spec="spec", api_schema={"in": [1]})
    assert (event.state, event.error) == ("delivered", "")
    (request,) = endpoint.requests
    assert (request.method, request.path) == ("POST", "/api/models/tokenized-registration-events")
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Idempotency-Key"] == event.op_id
    assert body_of(request) == {
        "model_name": "lead scoring",
        "version": "1",
        "token_id": "HLEAD",
        "proposal_identifier": "HIP-7",
        "metric_name": "accuracy",
        "baseline_value": 0.1342,
        "mlflow_run_id": "run-1",
        "model_uri": "models:/lead scoring/1",
        "tags": {"hokusai_token_id": "HLEAD"},
        "eval_spec": "spec",
        "api_schema": {"in": [1]},
    }
    assert bench.events.of(version) == event
    read_again = bench.registry.get_model_version("lead scoring", "1")
    assert bench.events.of(read_again) == event
    assert bench.registry.runtime.waiting() == 0


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/"])
def test_the_address_may_end_in_api(tmp_path: Path, endpoint: StubServer, suffix: str) -> None:
    bench = Bench(tmp_path, endpoint.url + suffix)
    bench.register()
    assert endpoint.requests[0].path == "/api/models/tokenized-registration-events"
    bench.close()


def test_without_an_endpoint_nothing_is_sent_and_nothing_kept(
    tmp_path: Path, endpoint: StubServer
) -> None:
    bench = Bench(tmp_path, "", api_endpoint=endpoint.url)
    version, event = bench.register()
    assert event == bench.events.of(version) == RegistrationEvent(state="off")
    assert bench.events.all() == ()
    assert endpoint.requests == []
    bench.close()


def test_in_an_outage_it_waits_for_the_real_version(bench: Bench, endpoint: StubServer) -> None:
    bench.registry.register_model("s3://bucket/model", "lead scoring")
    bench.mock.down()
    version, event = bench.register()
    assert (event.state, event.version) == ("pending", version.version)
    assert endpoint.requests == []
    bench.mock.up()
    assert wait_for(lambda: bench.events.of(version).state == "delivered", 30)
    (request,) = endpoint.requests
    assert body_of(request)["version"] == "2"
    assert body_of(request)["model_uri"] == "models:/lead scoring/2"
    assert bench.events.of(version).version == "2"


def test_it_never_precedes_a_registration_that_is_refused(
    bench: Bench, endpoint: StubServer
) -> None:
    bench.mock.down()
    version, _ = bench.register()
    bench.mock.reject("create_model_version", RejectedError("no versions today"))
    bench.mock.up()
    assert wait_for(lambda: bench.registry.runtime.waiting() == 1, 30)
    assert bench.events.of(version).state == "pending"
    assert endpoint.requests == []
    bench.mock.accept("create_model_version")
    queue = SyncQueue(bench.settings, backend=bench.mock)
    assert queue.retry_all() == 1
    assert bench.drain().complete
    assert body_of(endpoint.requests[-1])["version"] == "1"


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Answer(500), id="500"),
        pytest.param(Answer(502, b"<html>Bad Gateway</html>"), id="502 of a proxy"),
        pytest.param(Answer(503, headers={"Retry-After": "0"}), id="503"),
        pytest.param(Answer(429, headers={"Retry-After": "0"}), id="429"),
        pytest.param(Answer(401), id="401"),
        pytest.param(Answer(403), id="403"),
        pytest.param(Answer(404, b"<html>404</html>"), id="404 of a load balancer"),
        pytest.param(Answer(200, b"<html>Sign in</html>"), id="200 with a page"),
        pytest.param(Answer(302, headers={"Location": "http://127.0.0.1:1/"}), id="redirect"),
    ],
)
def test_a_failure_is_kept_and_retried(tmp_path: Path, trouble: Answer) -> None:
    with StubServer(trouble, trouble, Answer()) as endpoint:
        bench = Bench(tmp_path, endpoint.url)
        try:
            version, event = bench.register()
            assert event.state == "pending"
            assert (f"HTTP {trouble.status}" in event.error) or (
                trouble.status == 200 and "no JSON object" in event.error
            )
            assert wait_for(lambda: bench.events.of(version).state == "delivered", 30)
            assert len(endpoint.requests) == 3
            assert len({r.headers["Idempotency-Key"] for r in endpoint.requests}) == 1
            assert len({r.body for r in endpoint.requests}) == 1
        finally:
            bench.close()


def test_an_endpoint_that_is_not_there_costs_no_time_and_is_found_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    bench = Bench(tmp_path, f"http://127.0.0.1:{port}")
    version, event = bench.register()
    assert event.state == "pending"
    assert "ConnectionRefusedError" in event.error
    assert [e.state for e in bench.events.all("pending")] == ["pending"]
    bench.drain(0.0)
    assert bench.events.of(version).state == "pending"
    # No outage of the tracking server: its writes go on directly.
    assert bench.registry.register_model("s3://b/m", "other").sync_state == "delivered"
    assert not bench.registry.runtime.reporter.under_way
    assert KEY not in caplog.text
    bench.close()


def test_an_outage_is_over_although_events_still_wait_for_their_own_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="hokusai")
    with StubServer(Answer(503)) as endpoint, closing(Bench(tmp_path, endpoint.url)) as bench:
        bench.mock.down()
        version, _ = bench.register()
        assert bench.registry.runtime.reporter.under_way
        bench.mock.up()
        assert wait_for(lambda: "takes writes again" in caplog.text, 30)
        assert not bench.registry.runtime.reporter.under_way
        assert bench.registry.get_model_version("lead scoring", version.version).version == "1"
        assert bench.events.of(version).state == "pending"
        assert caplog.text.count("takes writes again") == 1


def test_a_silent_endpoint_costs_no_more_than_the_budget(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        bench = Bench(tmp_path, url, auto_sync=False, write_timeout=0.4, request_timeout=5.0)
        began = time.monotonic()
        _, event = bench.register()
        _, second = bench.register()
        assert time.monotonic() - began < 10
        assert (event.state, second.state) == ("pending", "pending")
        assert "no answer" in event.error
        bench.close()


def test_a_refusal_becomes_a_dead_letter_that_is_sent_again(tmp_path: Path) -> None:
    refusal = Answer(422, json.dumps({"detail": f"unknown token for {KEY}"}).encode())
    with StubServer(refusal, refusal, Answer()) as endpoint:
        bench = Bench(tmp_path, endpoint.url)
        version, event = bench.register()
        assert event.state == "pending"
        assert "unknown token for ***" in event.error
        assert wait_for(lambda: bench.events.of(version).state == "failed", 30)
        failed = bench.events.of(version)
        assert "unknown token" in failed.error
        assert KEY not in failed.error
        queue = SyncQueue(bench.settings, backend=bench.mock)
        assert [entry.kind for entry in queue.entries()] == [KIND]
        queue.retry([failed.op_id])
        assert bench.drain().complete
        assert bench.events.of(version).state == "delivered"
        assert len(endpoint.requests) == 3
        bench.close()


def test_it_survives_the_process_and_another_one_sends_it(
    tmp_path: Path, endpoint: StubServer
) -> None:
    """The job is killed right after the call; ``hokusai sync`` finds registration and event."""
    program = f"""
import os, signal
from hokusai_core import ModelRegistry
registry = ModelRegistry()
registry.runtime.circuits.primary.failed(registry.runtime.circuits.primary.admit())
version = registry.register_model("s3://bucket/model", "killed", tags={{"hokusai_token_id": "T"}})
event = registry.runtime.registration_events.announce(version, **{FIELDS!r})
assert event.state == "pending", event
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOKUSAI_BACKEND": "sql",
        "HOKUSAI_DATABASE_URL": f"sqlite:///{tmp_path / 'all.db'}",
        "HOKUSAI_DATA_DIR": str(tmp_path),
        "HOKUSAI_EVENTS_ENDPOINT": endpoint.url,
        "HOKUSAI_API_KEY": KEY,
        "HOKUSAI_CIRCUIT_OPEN_SECONDS": "60",
        "HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS": "60",
        "HOKUSAI_AUTO_SYNC": "false",
    }
    killed = session.run("-c", program, folder=tmp_path, environment=environment)
    assert killed.returncode == -9
    assert endpoint.requests == []
    done = session.run(
        *("-m", "hokusai_core", "sync", "--json"), folder=tmp_path, environment=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["left"] == 0
    (request,) = endpoint.requests
    assert body_of(request)["version"] == "1"


def test_a_worker_without_an_endpoint_says_so_and_leaves_it(
    tmp_path: Path, endpoint: StubServer
) -> None:
    bench = Bench(tmp_path, endpoint.url, auto_sync=False)
    bench.mock.down()
    version, _ = bench.register()
    bench.mock.up()
    worker = ModelRegistry(
        backend=bench.mock, settings=bench.settings.model_copy(update={"events_endpoint": ""})
    )
    report = worker.runtime.drain().run(wait_seconds=0.5, stop=threading.Event())
    assert (report.left, report.dead) == (1, 0)
    assert "HOKUSAI_EVENTS_ENDPOINT" in next(iter(report.reasons.values()))
    assert wait_for(lambda: bench.drain().complete)
    assert bench.events.of(version).state == "delivered"
    worker.runtime.close_connections()
    bench.close()


def test_without_a_fallback_a_failure_is_told_with_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with StubServer(Answer(503)) as endpoint:
        bench = Bench(tmp_path, endpoint.url, fallback="none")
        _, event = bench.register()
        assert event.state == "failed"
        assert "503" in event.error
        assert "hokusai events send" in caplog.text
        bench.close()


def test_the_operation_survives_the_journal_and_has_one_id_for_one_registration() -> None:
    operation = AnnounceRegistration(
        op_id=event_id("x"), name="m", version="1", api_schema={"a": [1, None, "ü"]}, **FIELDS
    )
    assert load_operation(dump_operation(operation)) == operation
    assert event_id("x") == event_id("x") != event_id("y")
    assert operation.stream == f"event/{operation.op_id}"


@pytest.mark.parametrize(
    "address",
    [
        "registry.hokus.ai",
        "ftp://host/",
        "http://",
        "https://user:secret@host/api",
        "https://host/api?token=secret",
        "https://host/api#secret",
        "https://host?",
        "http://127.0.0.1:abc",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://host name/",
        "http://host\nname/",
        "http://host/a path",
        "http://host/gr\u00fcn",
        "http://[::1/",
        "http://bad..name",
        f"http://{'a' * 64}/",
    ],
)
def test_a_wrong_endpoint_is_refused_without_its_credentials(address: str) -> None:
    with pytest.raises(ConfigurationError, match="EVENTS_ENDPOINT") as refusal:
        Settings.load(events_endpoint=address)
    assert "secret" not in str(refusal.value)
    if "user" not in address:
        with pytest.raises(ConfigurationError, match="API_ENDPOINT"):
            Settings.load(api_endpoint=address)
        with pytest.raises(ConfigurationError, match="API_ENDPOINT"):
            ModelRegistry(backend=MockBackend(), settings=Settings.load(), api_endpoint=address)


def test_an_endpoint_that_was_not_checked_is_shown_without_what_may_be_secret(
    tmp_path: Path,
) -> None:
    settings = Settings.load(data_dir=tmp_path).model_copy(
        update={"events_endpoint": "https://host/api?token=secret"}
    )
    assert status(settings, backend=MockBackend()).events_endpoint == "https://host/api"


@pytest.mark.parametrize("address", [" https://host:8443/api/ ", "HTTP://[::1]:5000", "http://a_b"])
def test_an_endpoint_that_can_be_asked_is_kept(address: str) -> None:
    for name in ("events_endpoint", "api_endpoint"):
        loaded = Settings.load(**{name: address})
        assert getattr(loaded, name) == address.strip().rstrip("/")
