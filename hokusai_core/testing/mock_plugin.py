"""The entry point ``mock``: every opening makes a mock backend, or its journal, of its own."""

from hokusai_core.identifiers import new_op_id
from hokusai_core.plugins import BackendConfig, BackendPlugin
from hokusai_core.testing.memory_journal import MemoryJournal
from hokusai_core.testing.mock import MOCK_CAPABILITIES, MockBackend


def _open(config: BackendConfig) -> object:
    return MockBackend() if config.role == "primary" else MemoryJournal()


def _destination(_config: BackendConfig) -> str:
    return f"mock:{new_op_id()}"


plugin = BackendPlugin(
    name="mock",
    capabilities=MOCK_CAPABILITIES,
    open=_open,
    destination=_destination,
    own_journal=True,
    in_memory=True,
)
"""The mock backend's manifest."""
