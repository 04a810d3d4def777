"""Tokens and passwords as files and shells leave them: fit to be sent, or a wrong setting."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from mlflow.tracking.request_auth import registry as auth_registry

from hokusai_core import ConfigurationError, ExperimentManager, ModelRegistry, Settings
from hokusai_core.operations import LogBatch, MetricPoint
from tests.mlflow_backend.conftest import opened, soon
from tests.mlflow_backend.test_plugins import Authentication, use
from tests.support.stub_server import Answer, StubServer

MakeStub = Callable[..., StubServer]
BATCH = LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))
TOKEN, USER, PASSWORD = (f"MLFLOW_TRACKING_{name}" for name in ("TOKEN", "USERNAME", "PASSWORD"))
KEY = "HOKUSAI_API_KEY"
UNSENDABLE = (
    "secret\nline",
    "secret\rline",
    "secret\tword",
    "secret\x7f.",
    "secret€",
    "secret\udcff",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub:
        yield stub


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({TOKEN: "abc\n"}, "Bearer abc"),
        ({TOKEN: " \tabc\r\n"}, "Bearer abc"),
        ({TOKEN: "a b\xe9"}, "Bearer a b\xe9"),
        ({TOKEN: "\n"}, None),
        ({USER: "ada\n", PASSWORD: " word \r\n"}, basic("ada: word ")),
        ({USER: "ada", PASSWORD: "p\u00e4ss\u20ac"}, basic("ada:p\u00e4ss\u20ac")),
        ({USER: "ada", PASSWORD: "\n", TOKEN: "abc"}, "Bearer abc"),
        ({USER: "ada", PASSWORD: "word", TOKEN: "not\nsent"}, basic("ada:word")),
    ],
)
def test_what_surrounds_credentials_is_not_sent(
    server: StubServer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    header: str | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    opened(server.url).write(BATCH, soon())
    assert server.requests[-1].headers.get("Authorization") == header
    assert {name: os.environ[name] for name in variables} == {
        name: before[name] for name in variables
    }


@pytest.mark.parametrize("with_settings", [False, True])
def test_what_surrounds_the_key_is_not_sent(server: StubServer, *, with_settings: bool) -> None:
    settings = Settings.load() if with_settings else None
    registry = ModelRegistry(server.url, api_key=" abc\n", settings=settings)
    key = registry.runtime.settings.api_key
    assert key is not None
    assert key.get_secret_value() == "abc"
    opened(server.url, api_key=" abc\n").write(BATCH, soon())
    assert server.requests[-1].headers["Authorization"] == "Bearer abc"


def test_a_key_of_nothing_but_whitespace_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, " \n")
    assert Settings.load().api_key is None


@pytest.mark.parametrize("value", UNSENDABLE)
@pytest.mark.parametrize("delivery", ["direct", "queued"])
def test_a_token_or_key_that_cannot_be_sent_is_a_wrong_setting_and_nothing_is_kept(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, delivery: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("HOKUSAI_DELIVERY", delivery)
    for variable in (TOKEN, KEY):
        monkeypatch.setenv(variable, value)
        for make in (ExperimentManager, ModelRegistry):
            with pytest.raises(ConfigurationError, match=variable) as caught:
                make()
            assert "secret" not in str(caught.value)
        monkeypatch.delenv(variable)
    for settings in (None, Settings.load()):
        with pytest.raises(ConfigurationError, match=KEY) as caught:
            ModelRegistry(api_key=value, settings=settings)
        assert "secret" not in str(caught.value)
    assert server.requests == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("variable", [USER, PASSWORD])
def test_a_login_that_is_no_text_is_a_wrong_setting(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(USER, "ada")
    monkeypatch.setenv(PASSWORD, "word")
    monkeypatch.setenv(variable, "secret\udcff")
    with pytest.raises(ConfigurationError, match=variable) as caught:
        ExperimentManager(mlflow_tracking_uri=server.url)
    assert "secret" not in str(caught.value)


def test_credentials_in_an_address_that_cannot_be_sent_are_a_wrong_setting(
    server: StubServer,
) -> None:
    address = server.url.replace("http://", "http://ada:secret%E2%82%AC@")
    with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_URI") as caught:
        ExperimentManager(mlflow_tracking_uri=address)
    assert "secret" not in str(caught.value)
    assert ModelRegistry(address, api_key="key") is not None  # which is sent in their place


def test_a_token_that_is_not_used_may_be_anything(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(TOKEN, "not\nsent")
    opened(server.url, api_key="key").write(BATCH, soon())
    opened(server.url.replace("http://", "http://ada:word@")).write(BATCH, soon())
    assert ExperimentManager(mlflow_tracking_uri=f"sqlite:///{tmp_path}/mlflow.db") is not None
    file = tmp_path / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_text("[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = word\n")
    opened(server.url).write(BATCH, soon())
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer key", basic("ada:word"), basic("ada:word")]


@pytest.mark.parametrize("workspace", ["", "team"])
def test_a_token_that_is_renewed_with_a_wrong_one_is_told_at_the_call(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, workspace: str
) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", workspace)
    monkeypatch.setenv(TOKEN, "good")
    manager = ExperimentManager(
        mlflow_tracking_uri=server.url, settings=Settings.load(auto_sync=False)
    )
    monkeypatch.setenv(TOKEN, "secret\nline")
    with pytest.raises(ConfigurationError, match=TOKEN) as caught:
        manager.start_run()
    assert "secret" not in str(caught.value)
    assert server.requests == []
    assert manager.runtime.waiting() == 0
    assert manager.runtime.circuits.primary.state == "closed"
    manager.runtime.close_connections()


@pytest.mark.parametrize("value", ["secret\nline", "secret€", b"secret\nline"])
def test_a_header_of_a_plugin_that_cannot_be_sent_is_a_wrong_setting(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch, value: str | bytes
) -> None:
    class Broken(Authentication):
        def get_auth(self) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
            def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
                request.headers["X-Signed"] = value  # type: ignore[assignment]
                return request

            return sign

    use(monkeypatch, auth_registry, Broken)
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "ours")
    server = stub()
    with pytest.raises(ConfigurationError, match="X-Signed") as caught:
        opened(server.url).write(BATCH, soon())
    assert "secret" not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MLFLOW_WORKSPACE", "secret\nline"), ("HTTP_PROXY", "http://a:secret%E2%82%AC@127.0.0.1:1")],
)
def test_a_request_that_cannot_be_built_is_a_wrong_setting(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    server = stub(Answer(200, b'{"workspaces_enabled": true}'), Answer())
    address = (
        server.url.replace("127.0.0.1", "tracking.example") if "PROXY" in variable else server.url
    )
    with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
        opened(address).write(BATCH, soon())
    assert "secret" not in str(caught.value)
    assert server.requests == []
