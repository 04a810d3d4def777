"""Fixtures and helpers of the tests of the MLflow backend."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hokusai_backend_mlflow.plugin import plugin
from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.clock import Deadline
from hokusai_core.operations import CreateExperiment, CreateRun, now_milliseconds
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from tests.support.mlflow_server import MlflowServer
from tests.support.stub_server import StubServer


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing of the developer's own settings reaches a test."""
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_REGISTRY_URI",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_WORKSPACE",
        "HOKUSAI_DESTINATION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def soon(seconds: float = 20.0) -> Deadline:
    """A deadline that no healthy call misses."""
    return Deadline(seconds)


def unique(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def opened(uri: str, *, registry_uri: str = "", api_key: str = "", **settings: Any) -> OpenBackend:
    """Open the backend on an address."""
    config = BackendConfig(
        settings=Settings.load(**settings),
        tracking_uri=uri,
        registry_uri=registry_uri,
        api_key=api_key,
    )
    return open_backend(plugin, config)


def make_experiment(backend: OpenBackend) -> str:
    """Create an experiment and give its id."""
    return backend.write(CreateExperiment(name=unique("experiment")), soon()).primary_id


def make_run(backend: OpenBackend, experiment_id: str) -> str:
    """Create a run and give its id."""
    operation = CreateRun(
        experiment_id=experiment_id, run_name=unique("run"), start_time=now_milliseconds()
    )
    return backend.write(operation, soon()).primary_id


@pytest.fixture
def backend(mlflow_server: MlflowServer) -> OpenBackend:
    """The backend on the shared server."""
    return opened(mlflow_server.url, request_timeout=20)


@pytest.fixture
def stub() -> Iterator[Callable[..., StubServer]]:
    """Makes stub servers, which are closed at the end."""
    servers: list[StubServer] = []

    def make(*answers: Any, **options: Any) -> StubServer:
        servers.append(StubServer(*answers, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()
