"""MLflow's own plugins for headers and for authentication are asked at each request."""

from collections.abc import Callable

import pytest
import requests
from mlflow.tracking.request_auth import registry as auth_registry
from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from mlflow.tracking.request_header import registry as header_registry
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider

from hokusai_core.errors import UnavailableError
from hokusai_core.operations import LogBatch, MetricPoint
from tests.mlflow_backend.conftest import opened, soon
from tests.support.stub_server import StubServer

MakeStub = Callable[..., StubServer]
BATCH = LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))


class Headers(RequestHeaderProvider):
    def in_context(self) -> bool:
        return True

    def request_headers(self) -> dict[str, str]:
        return {"X-Team": "a"}


class Authentication(RequestAuthProvider):
    def get_name(self) -> str:
        return "ours"

    def get_auth(self) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = "Signed"
            return request

        return sign


def use(monkeypatch: pytest.MonkeyPatch, registry: object, provider: type) -> None:
    (name,) = (each for each in vars(registry) if each.endswith("provider_registry"))
    known = getattr(registry, name)
    monkeypatch.setattr(known, "_registry", [*known._registry, provider()])


def test_header_and_authentication_plugins(stub: MakeStub, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, header_registry, Headers)
    use(monkeypatch, auth_registry, Authentication)
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "ours")
    server = stub()
    opened(server.url).write(BATCH, soon())
    headers = server.requests[-1].headers
    assert (headers["X-Team"], headers["Authorization"]) == ("a", "Signed")


def test_an_authentication_plugin_that_fails_is_an_outage(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Authentication):
        def get_auth(self) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
            raise RuntimeError("the token service is away")

    use(monkeypatch, auth_registry, Broken)
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "ours")
    server = stub()
    with pytest.raises(UnavailableError, match="RuntimeError") as caught:
        opened(server.url).write(BATCH, soon())
    assert not caught.value.maybe_applied
    assert server.requests == []


def test_mlflows_own_header_providers_are_asked_once_and_a_later_plugin_each_time(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Counting(Headers):
        def request_headers(self) -> dict[str, str]:
            asked.append("plugin")
            return {"X-Team": str(len(asked))}

    plain = header_registry.resolve_request_headers

    def resolve() -> dict[str, str]:
        asked.append("all")
        headers: dict[str, str] = plain()
        return headers

    monkeypatch.setattr(header_registry, "resolve_request_headers", resolve)
    server = stub()
    backend = opened(server.url)
    for _ in range(3):
        backend.write(BATCH, soon())
    assert asked == ["all"]
    assert {name: server.requests[-1].headers[name] for name in plain()} == plain()
    use(monkeypatch, header_registry, Counting)
    asked.clear()
    for _ in range(2):
        backend.write(BATCH, soon())
    assert asked == ["all", "plugin"] * 2
    assert server.requests[-1].headers["X-Team"] == "4"
