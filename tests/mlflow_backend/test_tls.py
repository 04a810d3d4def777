"""HTTPS: certificates of servers and clients, and bounded time over TLS."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hokusai_core.errors import AuthenticationError, CredentialsRejectedError, UnavailableError
from hokusai_core.operations import LogBatch, MetricPoint
from tests.mlflow_backend.conftest import opened, soon
from tests.support.certificates import server_context, write_certificate
from tests.support.fault_proxy import FaultProxy
from tests.support.stub_server import Answer, StubServer

MakeStub = Callable[..., StubServer]
BATCH = LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))
TRUST = "MLFLOW_TRACKING_SERVER_CERT_PATH"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture
def secure(stub: MakeStub, certificate: Path) -> StubServer:
    return stub(tls=server_context(certificate))


def test_an_untrusted_certificate_names_the_setting(secure: StubServer) -> None:
    with pytest.raises(AuthenticationError, match=TRUST):
        opened(secure.url).write(BATCH, soon())
    assert secure.requests == []


def test_trust_can_be_waived(secure: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with pytest.warns(match="Unverified HTTPS request"):
        opened(secure.url).write(BATCH, soon())
    assert len(secure.requests) == 1


def test_a_trusted_one_is_used_and_its_connection_kept(
    secure: StubServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUST, str(certificate))
    backend = opened(secure.url, api_key="key")
    for _ in range(2):
        backend.write(BATCH, soon())
    assert {request.headers["Authorization"] for request in secure.requests} == {"Bearer key"}
    assert len({request.peer for request in secure.requests}) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"days": -1.0}, "has expired"),
        ({"name": "tracking.example"}, "for another"),
        ({"name": "127.0.0.2"}, "for another address"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(
    stub: MakeStub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    told: str,
) -> None:
    bad = write_certificate(tmp_path / "bad.pem", **options)  # type: ignore[arg-type]
    monkeypatch.setenv(TRUST, str(bad))
    server = stub(tls=server_context(bad))
    with pytest.raises(AuthenticationError, match=told):
        opened(server.url).write(BATCH, soon())
    assert server.requests == []


def test_trust_that_is_lost_in_the_middle_is_an_outage(
    stub: MakeStub, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUST, str(certificate))
    once = Answer(headers={"Content-Type": "application/json", "Connection": "close"})
    first = stub(once, tls=server_context(certificate))
    backend = opened(first.url)
    backend.write(BATCH, soon())
    port = first.port
    first.close()
    other = write_certificate(tmp_path / "other.pem")
    with (
        StubServer(tls=server_context(other), port=port),
        pytest.raises(CredentialsRejectedError, match=TRUST) as caught,
    ):
        backend.write(BATCH, soon())
    assert not caught.value.maybe_applied


def test_mutual_tls(
    stub: MakeStub, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write_certificate(tmp_path / "client.pem", name="client.example")
    server = stub(tls=server_context(certificate, clients=own))
    monkeypatch.setenv(TRUST, str(certificate))
    with pytest.raises(UnavailableError):
        opened(server.url).write(BATCH, soon())
    assert server.requests == []
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(own))
    opened(server.url).write(BATCH, soon())
    assert len(server.requests) == 1


def test_time_is_bounded_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, str(certificate))
    with FaultProxy(mode="black_hole") as proxy:
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            opened(f"https://127.0.0.1:{proxy.port}", connect_timeout=0.4).write(BATCH, soon())
        assert time.monotonic() - began < 5
        assert not caught.value.maybe_applied
