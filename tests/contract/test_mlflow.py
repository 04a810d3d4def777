"""The MLflow backend keeps the contracts, against a real server."""

from pathlib import Path

import pytest

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from hokusai_core.testing.contracts import RegistryContract, TrackingContract
from tests.support.mlflow_server import MlflowServer


@pytest.fixture
def backend(mlflow_server: MlflowServer, tmp_path: Path) -> OpenBackend:
    settings = Settings.load(data_dir=tmp_path, request_timeout=30.0)
    config = BackendConfig(settings, tracking_uri=mlflow_server.url, data_dir=tmp_path)
    return open_backend("mlflow", config)


class TestMlflowTracking(TrackingContract):
    @pytest.fixture
    def backend(self, backend: OpenBackend) -> OpenBackend:
        return backend


class TestMlflowRegistry(RegistryContract):
    @pytest.fixture
    def backend(self, backend: OpenBackend) -> OpenBackend:
        return backend
