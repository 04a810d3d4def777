"""What the acceptance tests share: a clean environment, and managers whose machinery is closed."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hokusai_core import ExperimentManager, Settings

SOON = {"circuit_open_seconds": 0.2, "circuit_open_max_seconds": 0.5, "late_effect_seconds": 1.0}
"""Settings that shorten the waits after an outage; the budgets of calls stay as they are."""

MakeManager = Callable[..., ExperimentManager]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's settings; a data folder of the test's own."""
    for name in os.environ:
        if name.startswith(("HOKUSAI_", "MLFLOW_")) and name != "HOKUSAI_TEST_DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def make_manager() -> Iterator[MakeManager]:
    """Makes managers; in the end their threads and connections are closed."""
    managers: list[ExperimentManager] = []

    def make(name: str, url: str, **settings: Any) -> ExperimentManager:
        managers.append(ExperimentManager(name, url, settings=Settings.load(**(SOON | settings))))
        return managers[-1]

    yield make
    for manager in managers:
        manager.runtime.drainer.stop(10.0)
        manager.runtime.close_connections()
