"""A search applies filter, order and limit to runs with what waits laid over them."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, RunHandle, Settings
from hokusai_core.testing import MockBackend
from tests.behaviour.stack import Stack
from tests.support.outages import up


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(
        data_dir=tmp_path,
        auto_sync=False,
        circuit_open_seconds=0.001,
        circuit_open_max_seconds=0.001,
    )


@pytest.fixture
def manager(mock: MockBackend, settings: Settings) -> ExperimentManager:
    return ExperimentManager("search", backend=mock, settings=settings)


@pytest.fixture
def elsewhere(mock: MockBackend, settings: Settings) -> ExperimentManager:
    """Of a process that knows nothing but the journal and the server."""
    other = settings.model_copy(update={"read_timeout": 29.0})
    return ExperimentManager("search", backend=mock, settings=other)


def begin(manager: ExperimentManager, name: str, loss: float, **tags: str) -> RunHandle:
    run = manager.start_run(run_name=name, tags=tags)
    run.log_metric("loss", loss)
    run.end()
    return run


def written_in_an_outage(mock: MockBackend, manager: ExperimentManager) -> RunHandle:
    run = manager.start_run(run_name="changed", tags={"team": "b"})
    run.log_metric("loss", 0.9)
    mock.down()
    run.log_metric("loss", 0.1, step=1)
    run.set_tag("team", "a")
    run.end()
    up(mock, manager)
    assert manager.runtime.waiting() == 3
    return run


CHANGED = [
    ("metrics.loss < 0.5", True),
    ("metrics.loss > 0.5", False),
    ("status = 'FINISHED'", True),
    ("status = 'RUNNING'", False),
    ("tags.team = 'a'", True),
    ("tags.team = 'b'", False),
    ("attributes.run_name = 'changed'", True),
    ("", True),
]


@pytest.mark.parametrize(("filter_string", "found"), CHANGED)
def test_waiting_writes_decide(
    mock: MockBackend,
    manager: ExperimentManager,
    elsewhere: ExperimentManager,
    filter_string: str,
    found: bool,
) -> None:
    run = written_in_an_outage(mock, manager)
    for each in (manager, elsewhere):
        runs = each.search_runs(filter_string)
        assert [one.info.run_id for one in runs] == [run.run_id] * found
        for one in runs:
            assert (one.info.status, one.data.metrics, one.sync_state) == (
                "FINISHED",
                {"loss": 0.1},
                "pending",
            )


def test_order_and_limit_come_after(mock: MockBackend, manager: ExperimentManager) -> None:
    begin(manager, "middle", 0.5)
    begin(manager, "low", 0.2)
    written_in_an_outage(mock, manager)
    ascending = manager.search_runs(order_by=["metrics.loss ASC"], max_results=2)
    assert [run.info.run_name for run in ascending] == ["changed", "low"]
    descending = manager.search_runs(order_by=["metrics.loss DESC"], max_results=2)
    assert [run.info.run_name for run in descending] == ["middle", "low"]
    above = manager.search_runs("metrics.loss > 0.1", max_results=1, order_by=["metrics.loss DESC"])
    assert [run.info.run_name for run in above] == ["middle"]


def test_a_run_that_was_delivered_after_one_outage_and_waits_in_the_next(
    mock: MockBackend, manager: ExperimentManager, elsewhere: ExperimentManager
) -> None:
    mock.down()
    run = manager.start_run(run_name="twice")
    run.log_metric("loss", 0.9)
    up(mock, manager)
    assert manager.runtime.drain().run(wait_seconds=10.0, stop=threading.Event()).left == 0
    mock.down()
    run.log_metric("loss", 0.1, step=1)
    up(mock, manager)
    for each in (elsewhere, manager):
        (found,) = each.search_runs("metrics.loss < 0.5")
        assert (found.info.run_id, found.sync_state) == (run.primary_id, "pending")
        assert each.search_runs("metrics.loss > 0.5") == []


def test_in_an_outage_what_a_handle_logged_since_the_delivery_shows(
    mock: MockBackend, manager: ExperimentManager
) -> None:
    mock.down()
    run = manager.start_run(run_name="twice")
    up(mock, manager)
    assert manager.runtime.drain().run(wait_seconds=10.0, stop=threading.Event()).left == 0
    run.log_metric("loss", 0.1)
    mock.down()
    (found,) = manager.search_runs("metrics.loss < 0.5")
    assert (found.source, found.complete, found.sync_state) == ("fallback", False, "delivered")


@pytest.mark.parametrize("kind", ["mlflow-sqlite", "postgresql"])
def test_on_a_real_server(make_stack: Callable[[str], Stack], kind: str) -> None:
    stack = make_stack(kind)
    # Another budget makes it another process's: nothing is shared but journal and server.
    settings = [
        stack.settings.model_copy(update={"auto_sync": False, "read_timeout": seconds})
        for seconds in (30.0, 29.0)
    ]
    manager, elsewhere = (
        ExperimentManager(
            stack.name,
            mlflow_tracking_uri=stack.tracking_uri,
            backend=stack.backend,
            settings=each,
        )
        for each in settings
    )
    begin(manager, "other", 0.9)
    run = manager.start_run(run_name="changed")
    run.log_metric("loss", 0.9)
    with stack.outage():
        run.log_metric("loss", 0.1, step=1)
        run.set_tag("team", "a")
        run.end()
    time.sleep(0.5)
    for each in (manager, elsewhere):
        for filter_string in ("metrics.loss < 0.5", "tags.team = 'a'"):
            (found,) = each.search_runs(filter_string)
            assert (found.info.run_id, found.info.status) == (run.run_id, "FINISHED")
        (other,) = each.search_runs("metrics.loss > 0.5")
        assert other.info.run_name == "other"
    for each in (manager, elsewhere):
        each.runtime.close_connections()
