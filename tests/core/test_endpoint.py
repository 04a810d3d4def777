"""Registering through the Hokusai API: a real HTTP server answers."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hokusai_core import (
    AuthenticationError,
    ConflictError,
    InvalidInputError,
    MLflowAuthenticationError,
    MLflowConnectionError,
    ModelRegistry,
    NotFoundError,
    PermissionDeniedError,
    RegistryException,
    RejectedError,
    Settings,
    UnavailableError,
)
from hokusai_core.errors import RateLimitedError
from hokusai_core.testing import MockBackend
from tests.support.stub_server import Answer, StubServer

RUN_ID = "0123456789abcdef0123456789abcdef"
ANSWER = {
    "model_id": "m-1",
    "model_type": "classifier",
    "version": "1.2.0",
    "metrics": {"accuracy": 0.9},
    "mlflow_version": 7,
    "timestamp": "2024-05-01T10:00:00",
}


@pytest.fixture
def served() -> Iterator[Callable[..., tuple[ModelRegistry, StubServer]]]:
    servers: list[StubServer] = []

    def serve(answer: Answer, **settings: Any) -> tuple[ModelRegistry, StubServer]:
        server = StubServer(answer)
        servers.append(server)
        loaded = Settings.load(
            api_endpoint=f"{server.url}/api/", **({"api_key": "secret-key"} | settings)
        )
        return ModelRegistry(backend=MockBackend(), settings=loaded), server

    yield serve
    for server in servers:
        server.close()


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, content, {"Content-Type": "application/json"} | headers)


def test_the_service_registers(served: Any) -> None:
    registry, server = served(answer(body=ANSWER))
    entry = registry.register_baseline_via_api("classifier", RUN_ID, {"dataset": "iris"})
    assert (entry.model_id, entry.model_type, entry.version) == ("m-1", "classifier", "1.2.0")
    assert (entry.mlflow_version, entry.run_id, entry.is_baseline) == ("7", RUN_ID, True)
    assert (entry.metrics, entry["timestamp"]) == ({"accuracy": 0.9}, "2024-05-01T10:00:00")
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/api/v1/models/baseline")
    assert request.headers["Authorization"] == "Bearer secret-key"
    assert json.loads(request.body) == {
        "model_type": "classifier",
        "mlflow_run_id": RUN_ID,
        "metadata": {"dataset": "iris"},
    }


@pytest.mark.parametrize(
    ("given", "expected", "maybe_applied"),
    [
        (answer(401, {}), AuthenticationError, None),
        (answer(403, {}), PermissionDeniedError, None),
        (answer(404, {"detail": "no run"}), NotFoundError, None),
        (answer(409, {}), ConflictError, None),
        (answer(422, {}), RejectedError, None),
        (answer(429, {}, **{"Retry-After": "7"}), RateLimitedError, False),
        (answer(408, {}), UnavailableError, True),
        (answer(500, {}), UnavailableError, True),
        (answer(503, b"<html>", **{"Retry-After": "7"}), UnavailableError, True),
        (answer(302, {}, Location="http://127.0.0.1:1/login"), UnavailableError, False),
        (answer(200, b"<html>login</html>"), UnavailableError, True),
        (answer(200, [1]), UnavailableError, True),
        (answer(200, {"model_id": "m"}), UnavailableError, True),
        (answer(200, ANSWER | {"model_id": 5}), UnavailableError, True),
    ],
)
def test_failures_are_classified(
    served: Any, given: Answer, expected: type[Exception], maybe_applied: bool | None
) -> None:
    registry, server = served(given)
    with pytest.raises(expected) as caught:
        registry.register_baseline_via_api("classifier", RUN_ID)
    assert type(caught.value) is expected
    assert isinstance(caught.value, RegistryException)
    assert "secret-key" not in str(caught.value)
    assert len(server.requests) == 1
    if maybe_applied is not None:
        assert isinstance(caught.value, MLflowConnectionError)
        assert caught.value.maybe_applied is maybe_applied  # type: ignore[attr-defined]
    if given.headers.get("Retry-After"):
        assert caught.value.retry_after == 7  # type: ignore[attr-defined]


def test_without_a_key_nothing_is_sent(served: Any) -> None:
    registry, server = served(answer(body=ANSWER), api_key=None)
    with pytest.raises(MLflowAuthenticationError, match="HOKUSAI_API_KEY"):
        registry.register_baseline_via_api("classifier", RUN_ID)
    assert server.requests == []


@pytest.mark.parametrize(
    "arguments",
    [("a/b", RUN_ID), ("", RUN_ID), ("a", ""), ("a", "../x"), ("a", RUN_ID, {"x": object()})],
)
def test_bad_input_is_refused_and_nothing_sent(served: Any, arguments: Any) -> None:
    registry, server = served(answer(body=ANSWER))
    with pytest.raises(InvalidInputError):
        registry.register_baseline_via_api(*arguments)
    assert server.requests == []


def test_a_service_that_is_not_there_or_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = Settings.load(
            api_endpoint=f"http://user:pass@127.0.0.1:{port}",
            api_key="secret-key",
            write_timeout=0.5,
            lease_seconds=60,
        )
        registry = ModelRegistry(backend=MockBackend(), settings=settings)
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            registry.register_baseline_via_api("classifier", RUN_ID)
        assert time.monotonic() - began < 5
        assert caught.value.maybe_applied
    with pytest.raises(UnavailableError) as caught:
        registry.register_baseline_via_api("classifier", RUN_ID)
    assert not caught.value.maybe_applied
    assert "pass@" not in str(caught.value)
