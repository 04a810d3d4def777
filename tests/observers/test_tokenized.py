"""The registration event as users meet it: the result of a registration, `status`, the command."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hokusai_core import InvalidInputError, ModelRegistry, Settings, status
from hokusai_core.cli import application
from tests.behaviour.stack import Stack
from tests.support.stub_server import Answer, StubServer
from tests.support.waiting import wait_for

ARGUMENTS: dict[str, Any] = {
    "token_id": "hlead",
    "metric_name": "accuracy",
    "baseline_value": 0.1342,
    "additional_tags": {"proposal_ticker": "HIP-7"},
    "eval_spec": "spec-1",
}


@pytest.fixture
def endpoint() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


def bodies(endpoint: StubServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in endpoint.requests]


def test_the_event_follows_a_registration_with_its_real_version(
    make_stack: Callable[[str], Stack], endpoint: StubServer
) -> None:
    """Against a real MLflow: in health at once, in an outage once the version is there."""
    stack = make_stack("mlflow-sqlite")
    stack.settings = stack.settings.model_copy(update={"events_endpoint": endpoint.url})
    registry, manager, name = stack.registry(), stack.manager(), stack.model_name()
    with manager.start_run() as run:
        run.log_text("a model", "model/weights.txt")
    uri = f"runs:/{run.run_id}/model"
    first = registry.register_tokenized_model(uri, name, **ARGUMENTS, api_schema={"in": ["text"]})
    assert first["registration_event"]["state"] == "delivered"
    with stack.outage():
        with manager.start_run() as later:
            later.log_text("a model", "model/weights.txt")
        second = registry.register_tokenized_model(f"runs:/{later.run_id}/model", name, **ARGUMENTS)
        assert (second["version"], second["registration_event"]["state"]) == ("", "pending")
        assert len(endpoint.requests) == 1
    events = registry.runtime.registration_events
    assert wait_for(lambda: {event.state for event in events.all()} == {"delivered"}, 60)
    one, two = bodies(endpoint)
    stored = registry.get_model_version(name, "2")
    assert [one["version"], two["version"]] == ["1", "2"]
    assert one["api_schema"] == {"in": ["text"]}
    assert two["mlflow_run_id"] == later.wait(30) == stored.tags["mlflow_run_id"]
    assert two == {
        "model_name": name,
        "version": "2",
        "token_id": "HLEAD",
        "proposal_identifier": "HIP-7",
        "metric_name": "accuracy",
        "baseline_value": 0.1342,
        "mlflow_run_id": later.primary_id,
        "model_uri": f"models:/{name}/2",
        "tags": {key: value for key, value in stored.tags.items() if key != "hokusai.op_id"},
        "eval_spec": "spec-1",
    }


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, Any, str]]]:
    """The command over a SQLite file that is primary and journal."""
    monkeypatch.setenv("HOKUSAI_BACKEND", "sql")
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOKUSAI_AUTO_SYNC", "false")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_SECONDS", "0.05")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS", "0.1")
    monkeypatch.setenv("HOKUSAI_API_KEY", "a-key")

    def run(*arguments: str) -> tuple[int, Any, str]:
        result = CliRunner().invoke(application, [*arguments, "--json"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, json.loads(result.stdout or "null"), result.stderr

    yield run
    ModelRegistry().runtime.close_connections()


def test_the_command_sends_again_what_was_refused(
    command: Callable[..., tuple[int, Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Answer(422, b'{"detail": "unknown token"}')
    with StubServer(refusal, refusal, refusal, Answer()) as endpoint:
        monkeypatch.setenv("HOKUSAI_EVENTS_ENDPOINT", endpoint.url)
        registry = ModelRegistry()
        made = registry.register_tokenized_model("s3://bucket/model", "scoring", **ARGUMENTS)
        assert made["registration_event"]["state"] == "pending"
        registry.runtime.drain().run(wait_seconds=1, stop=threading.Event())

        found = status()
        assert found.events_endpoint == endpoint.url
        (event,) = found.registration_events
        assert (event.state, event.name, event.version) == ("failed", "scoring", "1")
        assert "unknown token" in event.error
        assert not found.healthy
        shown = CliRunner().invoke(application, ["status"]).output
        assert f"1 event not delivered ({endpoint.url})" in shown
        assert "scoring 1: failed." in shown

        code, listed, _ = command("events", "list")
        assert (code, [each["state"] for each in listed]) == (1, ["failed"])
        code, sent, _ = command("events", "send")
        assert (code, sent[0]["state"]) == (1, "failed")
        code, sent, _ = command("events", "send", "scoring/1")
        assert (code, sent[0]["state"]) == (0, "delivered")
        assert command("events", "list")[:2] == (0, [])
        assert [each["state"] for each in command("events", "list", "--all")[1]] == ["delivered"]
        assert status().registration_events == ()
        assert len({request.headers["Idempotency-Key"] for request in endpoint.requests}) == 1
        assert len(endpoint.requests) == 4


def test_the_command_sends_the_event_of_a_version_that_had_none(
    command: Callable[..., tuple[int, Any, str]],
    monkeypatch: pytest.MonkeyPatch,
    endpoint: StubServer,
) -> None:
    made = ModelRegistry().register_tokenized_model("s3://bucket/model", "scoring", **ARGUMENTS)
    assert made["registration_event"]["state"] == "off"
    code, sent, _ = command("events", "send", "scoring/1")
    assert (code, sent[0]["state"]) == (1, "off")
    monkeypatch.setenv("HOKUSAI_EVENTS_ENDPOINT", endpoint.url)
    code, sent, _ = command("events", "send", "scoring/1")
    assert (code, sent[0]["state"]) == (0, "delivered")
    (body,) = bodies(endpoint)
    assert (body["version"], body["token_id"], body["eval_spec"]) == ("1", "HLEAD", "spec-1")
    assert body["baseline_value"] == 0.1342
    text = CliRunner().invoke(application, ["events", "list", "--all"]).output
    assert "scoring version 1" in text


@pytest.mark.parametrize("model", ["scoring", "scoring/9", "nobody/1", "/1", "scoring/"])
def test_the_command_says_what_is_wrong_with_a_version(
    command: Callable[..., tuple[int, Any, str]], model: str
) -> None:
    ModelRegistry().register_tokenized_model("s3://bucket/model", "scoring", **ARGUMENTS)
    code, printed, said = command("events", "send", model)
    assert (code, printed) == (1, None)
    assert said.startswith("hokusai: ")
    assert "Traceback" not in said


@pytest.mark.parametrize("schema", [["no mapping"], {"x": float("nan")}, {"x": object()}])
def test_a_schema_that_is_no_json_is_refused_before_anything_is_registered(
    tmp_path: Path, schema: Any
) -> None:
    registry = ModelRegistry(backend="mock", settings=Settings.load(data_dir=tmp_path))
    with pytest.raises(InvalidInputError, match="api_schema"):
        registry.register_tokenized_model(
            "s3://bucket/model", f"m{tmp_path.name}", **ARGUMENTS, api_schema=schema
        )
    assert registry.search_model_versions(f"m{tmp_path.name}") == []
