"""Fixtures for pytest, for tests of code that uses Hokusai; pytest finds them by itself.

This module is loaded into every run of pytest in an environment where Hokusai is installed. So it is
apart from the packages, and imports nothing but pytest until a fixture is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai_core.settings import Settings
    from hokusai_core.testing.mock import MockBackend
    from hokusai_core.testing.outage import Outage

pytest.register_assert_rewrite("hokusai_core.testing.contracts")

_FOREIGN = ("HOKUSAI_", "MLFLOW_TRACKING_", "MLFLOW_REGISTRY_")
_QUICK = {
    "HOKUSAI_CIRCUIT_OPEN_SECONDS": "0.05",
    "HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS": "0.2",
    "HOKUSAI_LATE_EFFECT_SECONDS": "0",
    "HOKUSAI_EXIT_TIMEOUT": "0",
}


@pytest.fixture
def hokusai_mock(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MockBackend]:
    """A mock backend of this test's own, which ``HOKUSAI_BACKEND`` selects, too.

    Managers and registries that the test, or the code under test, makes without naming a backend
    write to it. The machine's settings (``HOKUSAI_*``, ``MLFLOW_TRACKING_*``) are not seen, files go
    to a temporary folder, and outages end quickly.
    """
    from hokusai_core.testing import mock_plugin
    from hokusai_core.testing.mock import MockBackend

    mock = MockBackend()
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    for name, value in _QUICK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOKUSAI_BACKEND", "mock")
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path_factory.mktemp("hokusai")))
    monkeypatch.setattr(mock_plugin, "plugin", mock.plugin)
    yield mock
    mock.forget_steps()
    mock.up()


@pytest.fixture
def hokusai_settings(hokusai_mock: MockBackend) -> Settings:
    """The isolated settings of this test: its mock backend, its folder, nothing of the machine's."""
    from hokusai_core.settings import Settings

    return Settings.load()


@pytest.fixture
def hokusai_outage(hokusai_mock: MockBackend) -> Outage:
    """Scripts the failures of this test's mock: see :class:`hokusai_core.testing.outage.Outage`."""
    from hokusai_core.testing.outage import Outage

    return Outage(hokusai_mock)
