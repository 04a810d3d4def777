"""Addresses of models: what every server refuses is refused at the call, and secrets stay secret."""

from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hokusai_core import HokusaiError, InvalidInputError, ModelRegistry, Settings
from hokusai_core.model_uris import parse_model_name, parse_model_uri
from hokusai_core.testing import MockBackend
from tests.behaviour.stack import Stack
from tests.support.mlflow_server import MlflowServer

MALFORMED = [
    "models:plain/1",
    "runs:0123/model",
    "s3:/",
    "s3://bucket",
    "s3://b/../../x",
    "s3://b/./x",
    "gs://b/%2e%2e/x",
    "gs://b/%252e%252e/x",
    "s3://b/x%00",
    "x:y",
    "mlflow-artifacts:x",
    "https://h/../..",
    "azure://x",
    "s3://b/x?y/../z",
    "http://[h/x",
]
ACCEPTED = [
    "s3://bucket/model",
    "S3://bucket/model/",
    "s3://b//x",
    "s3://b/x#frag",
    "s3://b/x?y",
    "s3://b/a+b c/é",
    "s3:/bucket/x",
    "dbfs:/x",
    "wasbs://c@a.blob.core.windows.net/p",
    "s3://b/..x/x..",
]


@pytest.mark.parametrize("uri", MALFORMED)
def test_what_every_server_refuses_is_refused_at_the_call(uri: str) -> None:
    registry = ModelRegistry(backend=MockBackend(), settings=Settings.load(auto_sync=False))
    for call in (
        registry.load_model,
        lambda given: registry.register_model(given, "clf"),
        lambda given: registry.register_baseline(given, "clf"),
        lambda given: registry.register_tokenized_model(given, "clf", "tk", "f1", 0.5),
    ):
        with pytest.raises(InvalidInputError):
            call(uri)
    assert registry.list_registered_models() == []


def test_mlflows_server_agrees(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our rule is the server's own: it refuses what we refuse, or fails on it; takes what we take."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = MlflowClient(mlflow_server.url, mlflow_server.url)
    client.create_registered_model("addresses")
    for uri in MALFORMED:
        with pytest.raises(MlflowException):
            client.create_model_version("addresses", uri)
    for uri in ACCEPTED:
        client.create_model_version("addresses", uri)


def test_what_servers_take_is_taken(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    for uri in ACCEPTED:
        assert registry.register_model(uri, name).sync_state == "delivered"


def test_malformed_addresses_are_refused_in_an_outage_too(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    with failing.outage():
        for uri in MALFORMED:
            with pytest.raises(InvalidInputError):
                registry.register_model(uri, name)
    assert registry.runtime.waiting() == 0
    assert registry.list_registered_models(name) == []


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("runs:/0123/a/b", "runs:/0123/a/b"),
        ("runs:/0123/a/b/", "runs:/0123/a/b"),
        ("runs://0123/a/b//", "runs:/0123/a/b"),
        ("RUNS:/0123/a/b", "runs:/0123/a/b"),
        ("models:/clf/1/", "models:/clf/1"),
        ("Models://clf@best", "models:/clf@best"),
        ("models:/m-0a/", "models:/m-0a"),
        ("S3://Bucket/x/", "S3://Bucket/x/"),
    ],
)
def test_one_form_of_each_address(given: str, plain: str) -> None:
    assert parse_model_uri(given).uri == plain
    assert parse_model_name(given) == parse_model_uri(given)


def refused(call: Callable[[str], object], uri: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        call(uri)
    return str(caught.value)


def test_errors_repeat_no_credentials(stack: Stack) -> None:
    registry, manager, name = stack.registry(), stack.manager(), stack.model_name()
    registry.register_model("s3://bucket/m", name)
    data = {"features": [[0]], "labels": [0]}
    for call in (
        registry.load_model,
        lambda uri: manager.compare_models(uri, f"{name}/1", data),
        lambda uri: registry.register_model(f"{uri}/../x", name),
        lambda uri: registry.register_model(uri.replace("https:", "file:"), name),
        lambda uri: registry.register_model(uri.replace("https://", "x:"), name),
        lambda uri: registry.register_model(uri.replace("https://", ""), name),
        lambda uri: registry.register_model(uri.replace("https://u:", "u"), name),
        lambda uri: registry.load_model(uri.replace("https://u:", "u")),
    ):
        text = refused(call, "https://u:canary-a@h/p?token=canary-b")
        assert "canary" not in text, text
        assert "h/p" in text, text


@pytest.mark.parametrize("kind", ["mock", "sqlite"])
def test_a_source_that_a_backend_cannot_read_is_shown_without_credentials(
    make_stack: Callable[[str], Stack], kind: str
) -> None:
    registry = make_stack(kind).registry()
    registry.register_model("s3://u:canary-a@bucket/m?token=canary-b", "clf")
    with pytest.raises(HokusaiError, match="s3://bucket/m'") as caught:
        registry.load_model("models:/clf/1")
    assert "canary" not in str(caught.value)
