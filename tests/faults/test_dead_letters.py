"""What a proxy refuses each time becomes a dead letter; what is away for everybody does not."""

import threading
import uuid
from typing import Any

from mlflow import MlflowClient

from hokusai_core import ExperimentManager
from hokusai_core.journal import EntryQuery
from tests.faults.conftest import MakeRegistry
from tests.faults.table import page
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.mlflow_server import MlflowServer

MARK = "too-large"


class ChoosyProxy(FaultProxy):
    """Answers requests that hold the mark by itself, as a proxy with a limit does."""

    def _mode_for(self, request: bytes) -> Mode:
        return "canned" if MARK.encode() in request else super()._mode_for(request)


def test_an_operation_that_fails_each_time_ends_and_the_others_arrive(
    mlflow_server: MlflowServer, client: MlflowClient, make_registry: MakeRegistry
) -> None:
    name = f"dead letters {uuid.uuid4().hex[:12]}"
    settings: dict[str, Any] = {
        "late_effect_seconds": 0.0,
        "circuit_open_seconds": 0.01,
        "circuit_open_max_seconds": 0.02,
        "max_attempts": 4,
        "attempts": 1,
        "sync_threads": 1,
    }
    with ChoosyProxy(mlflow_server.port) as proxy:
        proxy.canned = page("413 Content Too Large")
        manager = ExperimentManager(make_registry(proxy.url, **settings), experiment_name=name)
        with manager.start_run(run_name="bad") as bad:
            bad.log_param("p", MARK)
            runtime = manager.runtime
            assert runtime.fallback is not None

            def dead() -> tuple[str, ...]:
                assert runtime.fallback is not None
                found = runtime.fallback.read(EntryQuery(states=("dead",)))
                return tuple(entry.error for entry in found)

            for number in range(20):
                good = manager.start_run(run_name=f"good {number}", nested=True)
                proxy.mode = "refuse"
                good.log_param("p", "fits")
                proxy.mode = "pass"
                good.end()
                runtime.drain().run(wait_seconds=1.0, stop=threading.Event())
                if dead():
                    break
            (error,) = dead()
            assert "413" in error
        report = runtime.drain().run(wait_seconds=30.0, stop=threading.Event())
        assert report.left == 0, report.reasons
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    for run in runs:
        expected = {} if run.info.run_name == "bad" else {"p": "fits"}
        assert (run.info.status, run.data.params) == ("FINISHED", expected)
