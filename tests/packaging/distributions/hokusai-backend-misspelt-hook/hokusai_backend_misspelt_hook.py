"""A backend with a misspelt hook."""

from hokusai_core.backend_tools import BackendPlugin, hookimpl
from hokusai_core.testing import MockBackend


class Misspelt(MockBackend):
    @hookimpl
    def tracking_log_bach(self, operation, deadline): ...


plugin = BackendPlugin(
    name="misspelt_hook",
    capabilities=frozenset({"tracking", "registry"}),
    open=lambda config: Misspelt(),
    destination=lambda config: "misspelt:",
)
