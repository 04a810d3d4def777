"""A backend that works."""

from hokusai_core.backend_tools import BackendPlugin
from hokusai_core.testing import MockBackend

plugin = BackendPlugin(
    name="good",
    capabilities=frozenset({"tracking", "registry"}),
    open=lambda config: MockBackend(),
    destination=lambda config: "good:",
)
