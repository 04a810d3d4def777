"""Why the proxy never sends a request again."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, Settings
from tests.high_availability.audit import runs_of
from tests.high_availability.cluster import EXAMPLES, Cluster, Proxy
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.high_availability, pytest.mark.timeout(300)]

CONFIGURATION = (EXAMPLES / "haproxy.cfg").read_text(encoding="utf-8")
RETRYING = CONFIGURATION.replace(
    # HAProxy sends only requests again that it holds as a whole.
    "retry-on conn-failure",
    "retry-on all-retryable-errors\n    option http-buffer-request",
)


class LossyServer(FaultProxy):
    """Stands before a server; once, it lets a run be created and loses the answer."""

    loses = False

    def _mode_for(self, request: bytes) -> Mode:
        if self.loses and request.startswith(b"POST /api/2.0/mlflow/runs/create"):
            self.loses = False
            return "drop_answer"
        return "pass"


@pytest.fixture
def lossy(cluster: Cluster) -> Iterator[LossyServer]:
    with LossyServer(cluster.servers[0].port) as lossy:
        yield lossy


@pytest.mark.parametrize(
    ("configuration", "runs"),
    [
        pytest.param(CONFIGURATION, 1, id="as in the example"),
        pytest.param(RETRYING, 2, id="with retries of requests"),
    ],
)
def test_a_lost_answer(
    cluster: Cluster, lossy: LossyServer, tmp_path: Path, configuration: str, runs: int
) -> None:
    """With retries, MLflow makes a second run, and nobody outside can know of it."""
    settings = Settings.load(data_dir=tmp_path, late_effect_seconds=2.0)
    name = f"a lost answer, {runs}"
    address = f"127.0.0.1:{lossy.port}"
    with ExitStack() as stack:
        proxy = Proxy(tmp_path / "proxy", (address, address), configuration)
        stack.callback(proxy.end)
        proxy.start()
        proxy.wait_for_states("UP", "UP")
        manager = ExperimentManager(name, proxy.url, settings=settings)
        stack.callback(manager.runtime.close_connections)
        stack.callback(manager.runtime.drainer.stop, 10.0)
        manager.start_run(run_name="before").end()
        lossy.loses = True
        manager.start_run(run_name="one").end()
        assert not lossy.loses
        assert wait_for(lambda: manager.runtime.waiting() == 0, 60.0)
    assert [each for each, _ in runs_of(cluster.url, name)].count("one") == runs
