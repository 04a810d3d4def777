"""Waits that a read timeout does not bound: names, headers, and uploads that stall."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from hokusai_backend_mlflow import watched_sockets
from hokusai_core.errors import UnavailableError
from hokusai_core.operations import ArtifactOwner, LogArtifact, LogBatch, MetricPoint
from tests.mlflow_backend.conftest import opened, soon
from tests.support.fault_proxy import FaultProxy
from tests.support.stub_server import Answer, StubServer

MakeStub = Callable[..., StubServer]
BATCH = LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))
SLACK = 5.0
LARGE = 64 << 20


def test_a_name_that_is_not_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's look-up stands in: a resolver that never answers cannot be configured here."""
    release = threading.Event()

    def never(host: str, port: int | None) -> list[watched_sockets.Address]:
        release.wait(60.0)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(watched_sockets, "_addresses", never)
    began = time.monotonic()
    try:
        with pytest.raises(UnavailableError) as caught:
            opened("http://mlflow.invalid:5000", connect_timeout=0.3).write(BATCH, soon())
    finally:
        release.set()
    assert time.monotonic() - began < SLACK
    assert not caught.value.maybe_applied


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-A: b\r\nX-"])
def test_headers_that_never_end_are_given_up(start: bytes) -> None:
    with FaultProxy(mode="canned") as proxy:
        proxy.canned = start
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            opened(proxy.url, request_timeout=0.3).write(BATCH, soon())
        assert time.monotonic() - began < SLACK
        assert caught.value.maybe_applied


@pytest.fixture
def stalling() -> Iterator[int]:
    """A server that accepts connections and reads nothing from them."""
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield int(listener.getsockname()[1])


def test_an_upload_that_stalls_is_given_up(stub: MakeStub, stalling: int) -> None:
    where = f"http://127.0.0.1:{stalling}/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts"
    run = {"info": {"run_id": "r", "artifact_uri": where}, "data": {}}
    server = stub(Answer(200, json.dumps({"run": run}).encode()))
    operation = LogArtifact(
        run_id="r",
        owner=ArtifactOwner(kind="run", id="r"),
        path="f",
        size=LARGE,
        sha256="0" * 64,
    )
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        opened(server.url).write(operation, soon(0.5), lambda: io.BytesIO(bytes(LARGE)))
    assert time.monotonic() - began < SLACK
    assert caught.value.maybe_applied
