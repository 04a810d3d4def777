"""The command, run in this process, and an outage to run it in."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hokusai_core import ExperimentManager, Settings
from hokusai_core.cli import application
from hokusai_core.runtime import Runtime
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer

REFUSED_URL = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of the test's own, and nothing of the user's settings."""
    for name in os.environ:
        if name.startswith(("HOKUSAI_", "MLFLOW_")) and name != "HOKUSAI_TEST_DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path / "journal"))
    monkeypatch.setenv("HOKUSAI_LATE_EFFECT_SECONDS", "0.5")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_SECONDS", "0.1")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS", "0.3")


@pytest.fixture
def run_command() -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(application, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def run_json(run_command: Callable[..., Result]) -> Callable[..., tuple[int, Any]]:
    def run(*arguments: str) -> tuple[int, Any]:
        result = run_command(*arguments, "--json")
        return result.exit_code, json.loads(result.stdout)

    return run


@dataclass
class Outage:
    """An MLflow server behind a proxy that refuses, and a job that logs meanwhile."""

    proxy: FaultProxy
    manager: ExperimentManager

    @property
    def runtime(self) -> Runtime:
        return self.manager.runtime

    def log_run(self, name: str) -> str:
        with self.manager.start_run(run_name=name) as run:
            run.log_params({"lr": 0.1})
            for step in range(5):
                run.log_metric("loss", 1.0 / (step + 1), step=step)
        return run.run_id

    def begin(self) -> None:
        self.proxy.mode = "refuse"

    def end(self) -> None:
        self.proxy.mode = "pass"


def _close(manager: ExperimentManager) -> None:
    manager.runtime.close_connections()


@pytest.fixture
def outage(mlflow_server: MlflowServer, tmp_path: Path) -> Iterator[Outage]:
    with FaultProxy(mlflow_server.port, mode="refuse") as proxy:
        manager = ExperimentManager(
            f"command {tmp_path.name}",
            mlflow_tracking_uri=proxy.url,
            settings=Settings.load(auto_sync=False),
        )
        yield Outage(proxy, manager)
        _close(manager)


@pytest.fixture
def refused() -> Iterator[ExperimentManager]:
    """A manager whose server is not there at all."""
    manager = ExperimentManager(
        "refused", mlflow_tracking_uri=REFUSED_URL, settings=Settings.load(auto_sync=False)
    )
    yield manager
    _close(manager)
