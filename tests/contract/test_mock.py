"""The mock backend and the journal in memory keep the contracts."""

from pathlib import Path

import pytest

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from hokusai_core.testing import MemoryJournal, MockBackend
from hokusai_core.testing.contracts import JournalContract, RegistryContract, TrackingContract


def _open(tmp_path: Path) -> OpenBackend:
    return open_backend(MockBackend().plugin, BackendConfig(Settings.load(data_dir=tmp_path)))


class TestMockTracking(TrackingContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> OpenBackend:
        return _open(tmp_path)


class TestMockRegistry(RegistryContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> OpenBackend:
        return _open(tmp_path)


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> OpenBackend:
        config = BackendConfig(Settings.load(data_dir=tmp_path), role="journal")
        return open_backend(MemoryJournal().plugin, config)
