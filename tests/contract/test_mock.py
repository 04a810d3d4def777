"""The mock backend and the journal in memory keep the contracts."""

from pathlib import Path

import pytest

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from hokusai_core.testing import MemoryJournal, MockBackend
from hokusai_core.testing.contracts import JournalContract, RegistryContract, TrackingContract
from hokusai_core.testing.cuts import Cuts


class MockFixtures:
    """The mock as the contracts for a primary want it."""

    @pytest.fixture
    def mock(self) -> MockBackend:
        return MockBackend()

    @pytest.fixture
    def backend(self, mock: MockBackend, tmp_path: Path) -> OpenBackend:
        return open_backend(mock.plugin, BackendConfig(Settings.load(data_dir=tmp_path)))

    @pytest.fixture
    def cuts(self, mock: MockBackend) -> Cuts:
        return mock.cuts


class TestMockTracking(MockFixtures, TrackingContract):
    """Experiments and runs."""


class TestMockRegistry(MockFixtures, RegistryContract):
    """Models and versions."""


class TestMemoryJournal(JournalContract):
    """The queue."""

    @pytest.fixture
    def journal(self) -> MemoryJournal:
        return MemoryJournal()

    @pytest.fixture
    def backend(self, journal: MemoryJournal, tmp_path: Path) -> OpenBackend:
        config = BackendConfig(Settings.load(data_dir=tmp_path), role="journal")
        return open_backend(journal.plugin, config)

    @pytest.fixture
    def cuts(self, journal: MemoryJournal) -> Cuts:
        return journal.cuts
