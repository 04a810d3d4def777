"""HTTPS: certificates, and bounded time over TLS."""

import datetime
import ipaddress
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hokusai_core.errors import AuthenticationError, UnavailableError
from hokusai_core.operations import LogBatch, MetricPoint
from tests.mlflow_backend.conftest import opened, soon
from tests.support.fault_proxy import FaultProxy
from tests.support.stub_server import StubServer

MakeStub = Callable[..., StubServer]
BATCH = LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def secure(stub: MakeStub, certificate: Path) -> StubServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return stub(tls=context)


def test_an_untrusted_certificate_names_the_setting(secure: StubServer) -> None:
    with pytest.raises(AuthenticationError, match="MLFLOW_TRACKING_SERVER_CERT_PATH"):
        opened(secure.url).write(BATCH, soon())
    assert secure.requests == []


def test_a_trusted_one_is_used_and_its_connection_kept(
    secure: StubServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    backend = opened(secure.url, api_key="key")
    for _ in range(2):
        backend.write(BATCH, soon())
    assert {request.headers["Authorization"] for request in secure.requests} == {"Bearer key"}
    assert len({request.peer for request in secure.requests}) == 1


def test_time_is_bounded_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    with FaultProxy(mode="black_hole") as proxy:
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            opened(f"https://127.0.0.1:{proxy.port}", connect_timeout=0.4).write(BATCH, soon())
        assert time.monotonic() - began < 5
        assert not caught.value.maybe_applied
