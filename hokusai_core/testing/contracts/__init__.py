"""What every backend has to do, as classes of tests that a backend's own tests derive from.

One for each specification. A subclass gives the fixture ``backend``, an
:class:`~hokusai_core.backends.OpenBackend`, and inherits the tests::

    class TestMyTracking(TrackingContract):
        @pytest.fixture
        def backend(self):
            return open_backend(my_plugin, BackendConfig(Settings.load()))

Tests use names of their own, so that one server or database serves them all. They need pytest.
"""

from hokusai_core.testing.contracts.journal import JournalContract
from hokusai_core.testing.contracts.registry import RegistryContract
from hokusai_core.testing.contracts.tracking import TrackingContract

__all__ = ["JournalContract", "RegistryContract", "TrackingContract"]
