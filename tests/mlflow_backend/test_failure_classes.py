"""What each answer and each broken connection becomes."""

import datetime
import email.utils
import io
import json
import time
from collections.abc import Callable

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import (
    AlreadyExistsError,
    AuthenticationError,
    ConfigurationError,
    CredentialsRejectedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnavailableError,
)
from hokusai_core.operations import (
    ArtifactOwner,
    CreateModelVersion,
    CreateRun,
    LogArtifact,
    LogBatch,
    MetricPoint,
    UpdateRun,
)
from hokusai_core.operations import CreateRegisteredModel as CreateModel
from tests.mlflow_backend.conftest import opened, soon
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.ports import free_port
from tests.support.stub_server import Answer, StubServer

MakeStub = Callable[..., StubServer]
HTML = {"Content-Type": "text/html"}
PAGE = b"<html><body>a proxy's page</body></html>"
BATCH = LogBatch(run_id="r" * 32, metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))


def mlflow_error(status: int, code: str) -> Answer:
    return Answer(status, json.dumps({"error_code": code, "message": "why"}).encode())


@pytest.mark.parametrize(
    ("answer", "kind", "maybe_applied"),
    [
        (Answer(200, b"", HTML), UnavailableError, True),
        (Answer(200, PAGE, HTML), UnavailableError, True),
        (Answer(200, b"[1]"), UnavailableError, True),
        (Answer(200, b'{"status": "ok"}'), UnavailableError, True),
        (Answer(200, b'{"error_code": "INVALID_PARAMETER_VALUE"}'), UnavailableError, True),
        (Answer(204, b""), UnavailableError, True),
        (Answer(302, b"", {"Location": "http://127.0.0.1:1/login"}), UnavailableError, False),
        (Answer(308, b"", {"Location": "http://127.0.0.1:1/"}), UnavailableError, False),
        (Answer(400, PAGE, HTML), UnavailableError, False),
        (Answer(404, PAGE, HTML), UnavailableError, False),
        (Answer(404, b'{"detail": "Not Found"}'), UnavailableError, False),
        (Answer(408, b""), UnavailableError, True),
        (Answer(429, b""), RateLimitedError, False),
        (mlflow_error(429, "RESOURCE_EXHAUSTED"), RateLimitedError, False),
        (Answer(500, PAGE, HTML), UnavailableError, True),
        (mlflow_error(500, "INTERNAL_ERROR"), UnavailableError, True),
        (mlflow_error(500, "INVALID_PARAMETER_VALUE"), UnavailableError, True),
        (Answer(502, PAGE, HTML), UnavailableError, True),
        (Answer(503, b""), UnavailableError, True),
        (mlflow_error(503, "TEMPORARILY_UNAVAILABLE"), UnavailableError, True),
        (Answer(504, PAGE, HTML), UnavailableError, True),
        (mlflow_error(400, "BAD_REQUEST"), UnavailableError, True),
        (mlflow_error(400, "NEVER_HEARD_OF"), UnavailableError, True),
    ],
)
def test_transient_answers(
    stub: MakeStub, answer: Answer, kind: type[TransientError], maybe_applied: bool
) -> None:
    server = stub(answer)
    with pytest.raises(kind) as caught:
        opened(server.url).write(BATCH, soon())
    assert type(caught.value) is kind
    assert caught.value.maybe_applied is maybe_applied
    assert caught.value.fast
    assert len(server.requests) == 1


def test_the_message_of_an_outage_ends_with_one_full_stop(stub: MakeStub) -> None:
    for body in (b"", b'{"error_code": "INTERNAL_ERROR", "message": "The disk is full."}'):
        with pytest.raises(UnavailableError, match=r"[^.]\.$"):
            opened(stub(Answer(503, body)).url).write(BATCH, soon())


@pytest.mark.parametrize("status", [400, 500])
def test_a_message_that_no_database_stores_is_cleaned(stub: MakeStub, status: int) -> None:
    body = b'{"error_code": "BAD_REQUEST", "message": "cut \\ud83d and \\u0000 here"}'
    with pytest.raises(UnavailableError) as caught:
        opened(stub(Answer(status, body)).url).write(BATCH, soon())
    assert "cut ? and \ufffd here" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (mlflow_error(400, "INVALID_PARAMETER_VALUE"), RejectedError),
        (mlflow_error(404, "RESOURCE_DOES_NOT_EXIST"), NotFoundError),
        (mlflow_error(400, "RESOURCE_ALREADY_EXISTS"), AlreadyExistsError),
        (Answer(401, PAGE, HTML), AuthenticationError),
        (mlflow_error(401, "UNAUTHENTICATED"), AuthenticationError),
        (Answer(403, b"no"), PermissionDeniedError),
        (mlflow_error(403, "PERMISSION_DENIED"), PermissionDeniedError),
    ],
)
def test_permanent_answers(stub: MakeStub, answer: Answer, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        opened(stub(answer).url).write(BATCH, soon())
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_worked_and_work_no_longer_are_transient(
    stub: MakeStub, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened(stub(Answer(), Answer(status, PAGE, HTML)).url)
    backend.write(BATCH, soon())
    with pytest.raises(CredentialsRejectedError) as caught:
        backend.write(BATCH, soon())
    assert not caught.value.maybe_applied
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-new-one")
    with pytest.raises((AuthenticationError, PermissionDeniedError), match="MLFLOW_TRACKING_TOKEN"):
        backend.write(BATCH, soon())


def test_a_successful_read_proves_no_credentials(stub: MakeStub) -> None:
    backend = opened(stub(Answer(200, b'{"runs": []}'), Answer(401)).url)
    assert (
        backend.tracking.tracking_find_runs(
            CreateRun(experiment_id="1", run_name="r", start_time=1), soon()
        )
        == ()
    )
    with pytest.raises(AuthenticationError):
        backend.write(BATCH, soon())


@pytest.mark.parametrize("status", [429, 503, 500])
def test_retry_after_is_honoured(stub: MakeStub, status: int) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    for value, low, high in (
        ("7", 7, 7),
        (email.utils.format_datetime(later, usegmt=True), 80, 100),
    ):
        server = stub(Answer(status, b"", {"Retry-After": value}))
        with pytest.raises(TransientError) as caught:
            opened(server.url).write(BATCH, soon())
        assert caught.value.retry_after is not None
        assert low <= caught.value.retry_after <= high
    with pytest.raises(TransientError) as caught:
        opened(stub(Answer(status, b"", {"Retry-After": "soon"})).url).write(BATCH, soon())
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    "value", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +9999999999999999"]
)
def test_a_retry_after_that_no_clock_holds_says_nothing(stub: MakeStub, value: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        opened(stub(Answer(503, b"", {"Retry-After": value})).url).write(BATCH, soon())
    assert caught.value.retry_after is None


@pytest.mark.parametrize("status", [200, 400, 500])
def test_json_that_is_nested_too_deep_is_no_answer_of_mlflows(stub: MakeStub, status: int) -> None:
    with pytest.raises(UnavailableError):
        opened(stub(Answer(status, b"[" * 200_000)).url).write(BATCH, soon())


@pytest.mark.parametrize("around", ["{}", "http://someone:{}@host"])
def test_a_secret_that_is_longer_than_what_is_shown_is_not_shown_in_part(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    token = "eyJ" + "secretpart" * 60
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    repeated = f"not accepted: {around.format(token)}"
    body = json.dumps({"error_code": "BAD_REQUEST", "message": repeated}).encode()
    with pytest.raises(UnavailableError, match="not accepted") as caught:
        opened(stub(Answer(400, body)).url).write(BATCH, soon())
    assert "secretpart" not in str(caught.value)


@pytest.mark.parametrize(
    "operation",
    [
        CreateRun(experiment_id="1", run_name="r", start_time=1),
        CreateModelVersion(name="m", source="s3://b/m"),
        CreateModel(name="m"),
    ],
)
def test_a_creation_that_names_nothing_is_no_success(
    stub: MakeStub, operation: CreateRun | CreateModelVersion | CreateModel
) -> None:
    with pytest.raises(UnavailableError) as caught:
        opened(stub(Answer()).url).write(operation, soon())
    assert caught.value.maybe_applied


def test_a_page_in_answer_to_an_upload_is_no_success(stub: MakeStub) -> None:
    run = {"info": {"run_id": "r", "artifact_uri": "mlflow-artifacts:/1/r/artifacts"}, "data": {}}
    server = stub(Answer(200, json.dumps({"run": run}).encode()), Answer(200, PAGE, HTML))
    operation = LogArtifact(
        run_id="r", owner=ArtifactOwner(kind="run", id="r"), path="f", size=1, sha256="0" * 64
    )
    with pytest.raises(UnavailableError):
        opened(server.url).write(operation, soon(), lambda: io.BytesIO(b"x"))


@pytest.mark.parametrize(
    ("mode", "maybe_applied"),
    [
        ("refuse", False),
        ("black_hole", True),
        ("reset_before", True),
        ("drop_answer", True),
        ("reset_after", True),
        ("hold_answer", True),
        ("drip", True),
        ("cut_body", True),
    ],
)
def test_broken_connections_end_in_time(stub: MakeStub, mode: Mode, maybe_applied: bool) -> None:
    body = json.dumps({"run_info": {"run_id": "r"}}).encode()
    server = stub(Answer(200, body))
    with FaultProxy(server.port, mode) as proxy:
        backend = opened(proxy.url, request_timeout=0.6)
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            backend.write(UpdateRun(run_id="r", status="FINISHED"), soon())
        assert time.monotonic() - began < 5
        assert caught.value.maybe_applied is maybe_applied
        proxy.mode = "pass"
        backend.write(UpdateRun(run_id="r", status="FINISHED"), soon())


def test_a_connection_that_the_server_closed_is_not_used_again(stub: MakeStub) -> None:
    server = stub()
    with FaultProxy(server.port) as proxy:
        backend = opened(proxy.url)
        for _ in range(3):
            backend.write(BATCH, soon())
            proxy.drop_connections()
    assert len(server.requests) == 3


def test_the_deadline_bounds_more_than_the_settings_do(stub: MakeStub) -> None:
    with FaultProxy(mode="black_hole") as proxy:
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            opened(proxy.url, request_timeout=60).write(BATCH, soon(0.5))
        assert time.monotonic() - began < 5
        assert caught.value.maybe_applied
        with pytest.raises(UnavailableError) as caught:
            opened(proxy.url).write(BATCH, soon(0))
        assert not caught.value.maybe_applied
        assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "no-such-host.invalid", "[::1]", "bad..name"]
)
def test_what_cannot_be_connected_was_not_applied(host: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        opened(f"http://{host}:{free_port()}").write(BATCH, soon())
    assert not caught.value.maybe_applied


def test_a_host_that_drops_packets_is_given_up(stub: MakeStub) -> None:
    # 240.0.0.0/4 is reserved: a connection is refused by the system or never answered.
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        opened("http://240.0.0.1:9", connect_timeout=0.3).write(BATCH, soon())
    assert time.monotonic() - began < 5
    assert not caught.value.maybe_applied


def test_no_message_shows_a_secret(stub: MakeStub) -> None:
    secrets = ("s3cret-password", "s3cret-key")
    refused = f"http://ada:s3cret-password@127.0.0.1:{free_port()}"
    backends: list[OpenBackend] = [
        opened(refused),
        opened(refused, api_key="s3cret-key"),
        opened(stub(Answer(401)).url, api_key="s3cret-key"),
        opened("http://ada:s3cret-password@bad..host:1"),
        opened("http://ada:s3cret-password@*.host:1"),
    ]
    for backend in backends:
        with pytest.raises((TransientError, AuthenticationError, ConfigurationError)) as caught:
            backend.write(BATCH, soon())
        for secret in secrets:
            assert secret not in str(caught.value)
            assert secret not in backend.destination
    assert type(caught.value) is ConfigurationError
    with pytest.raises(ConfigurationError) as caught:
        opened("http://ada:s3cret-password@bad host:1")
    assert "s3cret" not in str(caught.value)
