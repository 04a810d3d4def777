"""Fixtures: real MLflow servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.mlflow_server import MlflowServer
from tests.support.session import shared


@pytest.fixture(scope="session")
def mlflow_server() -> MlflowServer:
    """A server that all tests share: never kill it, and use names of your own on it."""
    port, folder = shared("mlflow")
    return MlflowServer(folder, int(port))


@pytest.fixture
def own_mlflow_server(tmp_path: Path) -> Iterator[Callable[[], MlflowServer]]:
    """Makes servers (not started yet) that the test may kill; each starts in several seconds."""
    with ExitStack() as stack:

        def make() -> MlflowServer:
            server = MlflowServer(tmp_path / f"mlflow-{len(list(tmp_path.iterdir()))}")
            server.folder.mkdir(parents=True)
            stack.callback(server.kill)
            return server

        yield make
