"""The MLflow backend keeps the contracts, against a real server whose answers may be cut off."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from hokusai_core.testing.contracts import RegistryContract, TrackingContract
from hokusai_core.testing.contracts.interruptions import Reopen
from hokusai_core.testing.cuts import Cuts
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.mlflow_server import MlflowServer


@pytest.fixture(scope="module")
def proxy(mlflow_server: MlflowServer) -> Iterator[FaultProxy]:
    with FaultProxy(upstream_port=mlflow_server.port) as proxy:
        yield proxy


class MlflowFixtures:
    """The MLflow backend as the contracts for a primary want it."""

    @pytest.fixture
    def reopen(self, mlflow_server: MlflowServer, tmp_path: Path) -> Reopen:
        return lambda: _open(mlflow_server.url, tmp_path)

    @pytest.fixture
    def backend(self, proxy: FaultProxy, tmp_path: Path) -> OpenBackend:
        return _open(proxy.url, tmp_path)

    @pytest.fixture
    def cuts(self, proxy: FaultProxy) -> Cuts:
        return {
            "before the server has the request": partial(_in_mode, proxy, "reset_before"),
            "after the server has answered": partial(_in_mode, proxy, "drop_answer"),
        }


class TestMlflowTracking(MlflowFixtures, TrackingContract):
    """Experiments and runs."""


class TestMlflowRegistry(MlflowFixtures, RegistryContract):
    """Models and versions."""


def _open(url: str, data_dir: Path) -> OpenBackend:
    settings = Settings.load(data_dir=data_dir, request_timeout=30.0)
    return open_backend("mlflow", BackendConfig(settings, tracking_uri=url, data_dir=data_dir))


@contextmanager
def _in_mode(proxy: FaultProxy, mode: Mode) -> Iterator[None]:
    proxy.mode = mode
    try:
        yield
    finally:
        proxy.mode = "pass"
