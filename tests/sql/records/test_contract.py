import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.testing.contracts import RegistryContract, TrackingContract
from tests.sql.records.conftest import Primary


class TestSqlTracking(TrackingContract):
    @pytest.fixture
    def backend(self, primary: Primary) -> OpenBackend:
        return primary.backend


class TestSqlRegistry(RegistryContract):
    @pytest.fixture
    def backend(self, primary: Primary) -> OpenBackend:
        return primary.backend
