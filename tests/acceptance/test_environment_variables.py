"""Each environment variable that existing users set means what it is documented to mean."""

import base64
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hokusai_core import (
    ConfigurationError,
    ExperimentManager,
    ModelRegistry,
    Settings,
    TransientError,
)
from hokusai_core.clock import Deadline
from tests.support.stub_server import Answer, StubServer
from tests.support.waiting import wait_for

MAKERS = (ExperimentManager, ModelRegistry)
Made = ExperimentManager | ModelRegistry


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has set nothing but where files go."""
    for name in os.environ:
        if name.startswith(("HOKUSAI_", "MLFLOW_")) and name != "HOKUSAI_TEST_DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOKUSAI_AUTO_SYNC", "false")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_SECONDS", "0.01")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS", "0.01")


@pytest.fixture
def server() -> Iterator[StubServer]:
    """A server that is broken, and sees what is asked of it all the same."""
    with StubServer(Answer(503)) as stub:
        yield stub


def write(made: Made) -> None:
    """A write that falls back."""
    assert wait_for(lambda: made.runtime.circuits.primary.seconds_until_probe() == 0)
    if isinstance(made, ModelRegistry):
        made.register_model("s3://bucket/model", "scoring")
    else:
        made.start_run().end()
    made.runtime.close_connections()


def read(made: Made) -> None:
    """A read that asks the server first."""
    assert wait_for(lambda: made.runtime.circuits.primary.seconds_until_probe() == 0)
    with contextlib.suppress(TransientError):
        made.runtime.sources.ask(lambda backend: backend.tracking.tracking_check(Deadline(5.0)))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("value", "backend"),
    [
        *((text, "mock") for text in ("true", "True", "TRUE", "1", "yes", "on", "t", "y")),
        *((text, "mlflow") for text in ("false", "False", "0", "no", "off", "f", "n", "")),
    ],
)
def test_mock_mode_is_a_boolean_for_both(
    make: Callable[[], Made], value: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_MOCK_MODE", value)
    made = make()
    assert made.runtime.selection.backend == backend
    if isinstance(made, ExperimentManager):
        assert made.mock_mode is (backend == "mock")


@pytest.mark.parametrize("make", MAKERS)
def test_a_mock_mode_that_is_no_boolean_is_refused(
    make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_MOCK_MODE", "perhaps")
    with pytest.raises(ConfigurationError, match="HOKUSAI_MOCK_MODE"):
        make()


@pytest.mark.parametrize("value", ["true", "false", "whatever"])
def test_optional_mlflow_warns_of_any_value(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOKUSAI_OPTIONAL_MLFLOW", value)
    with pytest.warns(FutureWarning, match="HOKUSAI_OPTIONAL_MLFLOW has no effect"):
        Settings.load()


def test_optional_mlflow_warns_once_in_a_process_and_changes_nothing(tmp_path: Path) -> None:
    program = """
from hokusai_core import ExperimentManager, ModelRegistry
for _ in range(3):
    assert ExperimentManager().runtime.selection.backend == "mlflow"
    ModelRegistry()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"HOKUSAI_OPTIONAL_MLFLOW": "true"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("HOKUSAI_OPTIONAL_MLFLOW has no effect") == 1
    assert "HOKUSAI_FALLBACK" in done.stderr
    assert "HOKUSAI_BACKEND=mock" in done.stderr


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"MLFLOW_TRACKING_URI": "http://one:1", "HOKUSAI_API_KEY": "k"}, "http://one:1"),
        (
            {"MLFLOW_TRACKING_URI": "", "HOKUSAI_API_KEY": "k"},
            "https://registry.hokus.ai/api/mlflow",
        ),
        ({"HOKUSAI_API_KEY": "k"}, "https://registry.hokus.ai/api/mlflow"),
        (
            {"HOKUSAI_API_KEY": "k", "HOKUSAI_API_ENDPOINT": "https://two/api/"},
            "https://two/api/mlflow",
        ),
        ({"HOKUSAI_API_ENDPOINT": "https://two/api"}, ""),
        ({}, ""),
    ],
)
def test_the_address_is_the_first_that_is_given(
    make: Callable[[], Made],
    variables: dict[str, str],
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made = make()
    assert made.runtime.selection.tracking_uri == address
    if not address:
        assert made.runtime.destination.startswith(("sqlite:", "file:"))  # MLflow's own default


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("variables", "header"),
    [
        pytest.param({"HOKUSAI_API_KEY": "our-key"}, "Bearer our-key", id="HOKUSAI_API_KEY"),
        pytest.param({"MLFLOW_TRACKING_TOKEN": "its-token"}, "Bearer its-token", id="token"),
        pytest.param(
            {"MLFLOW_TRACKING_USERNAME": "anna", "MLFLOW_TRACKING_PASSWORD": "pass"},
            f"Basic {base64.b64encode(b'anna:pass').decode()}",
            id="username and password",
        ),
        pytest.param({}, None, id="none"),
    ],
)
def test_credentials_are_sent_and_stay_through_an_outage(
    make: Callable[[], Made],
    variables: dict[str, str],
    header: str | None,
    server: StubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are there for the next request too, after a failure; and the environment is as before."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = {name: value for name, value in os.environ.items() if "MLFLOW_T" in name}
    before.pop("_MLFLOW_TELEMETRY_SESSION_ID", None)
    made = make()
    for step in (write, read):
        seen = len(server.requests)
        step(made)
        assert len(server.requests) > seen
    assert {request.headers.get("Authorization") for request in server.requests} == {header}
    after = {name: value for name, value in os.environ.items() if "MLFLOW_T" in name}
    assert (
        before
        == {name: value for name, value in after.items() if name != "_MLFLOW_TELEMETRY_SESSION_ID"}
        or before == after
    )


def test_the_key_of_one_object_is_not_sent_by_another(server: StubServer) -> None:
    keyed = ModelRegistry(server.url, api_key="mine")
    plain = ModelRegistry(server.url)
    write(plain)
    assert {request.headers.get("Authorization") for request in server.requests} == {None}
    server.requests.clear()
    write(keyed)
    assert {request.headers.get("Authorization") for request in server.requests} == {"Bearer mine"}


@pytest.mark.parametrize(
    "name", [f"HOKUSAI_{field.upper()}" for field in Settings.model_fields if "mlflow" not in field]
)
def test_a_variable_that_is_set_to_nothing_is_not_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "")
    field = name.removeprefix("HOKUSAI_").lower()
    default = Settings.model_fields[field].get_default(call_default_factory=True)
    assert getattr(Settings.load(), field) == default
