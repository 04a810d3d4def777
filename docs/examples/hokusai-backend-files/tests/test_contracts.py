"""The files backend keeps the contracts."""

from pathlib import Path

import pytest
from hokusai_backend_files.lines import faults
from hokusai_backend_files.plugin import plugin

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from hokusai_core.testing.contracts import RegistryContract, TrackingContract


class Fixtures:
    """A folder for each test; a new process is a backend that is opened anew."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> OpenBackend:
        return open_files(tmp_path)

    @pytest.fixture
    def reopen(self, tmp_path: Path):
        return lambda: open_files(tmp_path)

    @pytest.fixture
    def cuts(self):
        return faults.cuts


class TestTracking(Fixtures, TrackingContract):
    """Experiments, runs, artifacts."""


class TestRegistry(Fixtures, RegistryContract):
    """Models, versions, aliases."""


def open_files(folder: Path) -> OpenBackend:
    return open_backend(plugin, BackendConfig(Settings.load(), data_dir=folder))
