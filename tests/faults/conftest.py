"""What the tests of faults share: clean settings, and runtimes that are closed in the end."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from hokusai_core import ModelRegistry, Settings
from tests.support.mlflow_server import MlflowServer

MakeRegistry = Callable[..., ModelRegistry]

CALM = {
    "connect_timeout": 20.0,
    "request_timeout": 30.0,
    "write_timeout": 40.0,
    "read_timeout": 40.0,
    "artifact_idle_timeout": 30.0,
    "lease_seconds": 80.0,
    "journal_timeout": 20.0,
}
"""Budgets that a busy machine does not miss."""


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's settings, and no credentials."""
    for name in os.environ:
        if name.startswith(("HOKUSAI_", "MLFLOW_")) and name != "HOKUSAI_TEST_DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def make_registry(tmp_path: Path) -> Iterator[MakeRegistry]:
    """Makes registries that share one journal and one destination; closes them in the end."""
    registries: list[ModelRegistry] = []
    destination = f"faults {uuid.uuid4().hex}"

    def make(url: str, **settings: Any) -> ModelRegistry:
        common = {"data_dir": tmp_path / "data", "destination": destination, "auto_sync": False}
        loaded = Settings.load(**(CALM | common | settings))
        registries.append(ModelRegistry(url, settings=loaded))
        return registries[-1]

    yield make
    for registry in registries:
        registry.runtime.drainer.stop(10.0)
        registry.runtime.close_connections()


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    """A plain client of the server, past every proxy."""
    return MlflowClient(mlflow_server.url, mlflow_server.url)
