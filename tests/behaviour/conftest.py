"""The stacks: mock, SQLite, PostgreSQL, and MLflow with either journal."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from hokusai_core import Settings
from hokusai_core.testing import MockBackend
from tests.behaviour.stack import Stack
from tests.support.fault_proxy import FaultProxy
from tests.support.tcp_gate import TcpGate

FAST = {
    "late_effect_seconds": 0.5,
    "circuit_open_seconds": 0.1,
    "circuit_open_max_seconds": 0.3,
    # In these tests a primary that is away refuses; a busy machine is no outage.
    "connect_timeout": 5.0,
    "request_timeout": 20.0,
    "write_timeout": 25.0,
    "lease_seconds": 50.0,
}
OUTAGE_STACKS = ("mock", "mlflow-sqlite", "mlflow-postgresql", "postgresql")
# In health the journal is not asked, so one kind of it is enough.
STACKS = ("mock", "mlflow-sqlite", "postgresql", "sqlite")


@pytest.fixture
def make_stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Stack]]:
    with ExitStack() as cleanup:

        def make(kind: str) -> Stack:
            stack = _make(kind, request, tmp_path, cleanup)
            cleanup.callback(_close, stack)
            return stack

        yield make


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest, make_stack: Callable[[str], Stack]) -> Stack:
    """Every backend, in health."""
    return make_stack(request.param)


@pytest.fixture(params=OUTAGE_STACKS)
def failing(request: pytest.FixtureRequest, make_stack: Callable[[str], Stack]) -> Stack:
    """Every backend whose primary can go away."""
    return make_stack(request.param)


def _make(kind: str, request: pytest.FixtureRequest, folder: Path, cleanup: ExitStack) -> Stack:
    if kind == "mock":
        mock = MockBackend()
        settings = Settings.load(data_dir=folder, mlflow_tracking_uri="", **FAST)
        return Stack(settings, mock.down, mock.up, backend=mock)
    if kind == "sqlite":
        url = f"sqlite:///{folder / 'primary.db'}"
        settings = Settings.load(data_dir=folder, database_url=url, **FAST)
        return Stack(settings, None, lambda: None, backend="sql")
    if kind == "postgresql":
        url = make_url(request.getfixturevalue("postgres_url"))
        host = str(url.query.get("host", url.host or "127.0.0.1"))
        gate = cleanup.enter_context(TcpGate(host, url.port or 5432))
        gated = url.set(host="127.0.0.1", port=gate.port, query={}).render_as_string(
            hide_password=False
        )
        settings = Settings.load(data_dir=folder, database_url=gated, **FAST)
        return Stack(settings, gate.shut, gate.open, backend="sql")
    server = request.getfixturevalue("mlflow_server")
    proxy = cleanup.enter_context(FaultProxy(server.port))
    database = (
        {"database_url": request.getfixturevalue("postgres_url")}
        if kind == "mlflow-postgresql"
        else {}
    )
    settings = Settings.load(data_dir=folder, **database, **FAST)
    return Stack(
        settings,
        lambda: setattr(proxy, "mode", "refuse"),
        lambda: setattr(proxy, "mode", "pass"),
        tracking_uri=proxy.url,
    )


def _close(stack: Stack) -> None:
    runtime = stack.registry().runtime
    runtime.drainer.stop(5.0)
    runtime.close_connections()
