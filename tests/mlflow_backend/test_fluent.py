"""MLflow's own fluent calls beside Hokusai's runs."""

import logging
import os
import threading
from collections.abc import Iterator

import mlflow
import pytest

from hokusai_core import (
    ConfigurationError,
    ExperimentManager,
    ModelRegistry,
    NotDeliveredError,
    Settings,
)
from hokusai_core.testing import MockBackend
from tests.behaviour.conftest import FAST
from tests.behaviour.stack import Stack
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer


@pytest.fixture(autouse=True)
def mlflow_as_it_was() -> Iterator[None]:
    """Each test begins and ends with no run of MLflow and no address set."""
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def stack(mlflow_server: MlflowServer, tmp_path: object) -> Iterator[Stack]:
    with FaultProxy(mlflow_server.port) as proxy:
        settings = Settings.load(data_dir=tmp_path, **FAST)
        stack = Stack(
            settings,
            lambda: setattr(proxy, "mode", "refuse"),
            lambda: setattr(proxy, "mode", "pass"),
            tracking_uri=proxy.url,
        )
        yield stack
        runtime = stack.registry().runtime
        runtime.drainer.stop(5.0)
        runtime.close_connections()


def use_address_of(stack: Stack) -> None:
    assert stack.tracking_uri is not None
    mlflow.set_tracking_uri(stack.tracking_uri)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "hokusai" and record.levelno == logging.WARNING
    ]


def test_as_mlflow_leads_fluent_calls_to_the_run_and_puts_all_back(stack: Stack) -> None:
    before = (mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI"))
    with stack.manager().start_run() as run:
        with run.as_mlflow() as same:
            assert same is run
            active = mlflow.active_run()
            assert active is not None
            assert active.info.run_id == run.run_id
            mlflow.log_metric("fluent", 1.0)
            mlflow.log_param("also", "this")
            mlflow.log_text("hello", "fluent.txt")
        assert mlflow.active_run() is None
        assert (mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")) == before
        assert run.get().info.status == "RUNNING"
        run.log_metric("ours", 2.0)
    found = run.get()
    assert found.data.metrics == {"fluent": 1.0, "ours": 2.0}
    assert found.data.params == {"also": "this"}
    assert [entry.path for entry in run.list_artifacts()] == ["fluent.txt"]
    assert len(stack.manager().search_runs()) == 1


def test_as_mlflow_puts_a_set_address_back_also_after_an_exception(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with stack.manager().start_run() as run:
        with pytest.raises(ZeroDivisionError), run.as_mlflow():
            mlflow.log_metric("m", 1.0)
            raise ZeroDivisionError
        assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"]
        assert mlflow.get_tracking_uri() == "http://127.0.0.1:9"
    assert run.get().data.metrics == {"m": 1.0}


def test_as_mlflow_is_for_one_thread_and_follows_mlflows_rule_of_nesting(stack: Stack) -> None:
    seen: list[object] = []
    with stack.manager().start_run() as run, run.as_mlflow():
        thread = threading.Thread(target=lambda: seen.append(mlflow.active_run()))
        thread.start()
        thread.join()
        with pytest.raises(Exception, match="already active"):
            mlflow.start_run()
        with mlflow.start_run(nested=True, experiment_id=run.info.experiment_id) as child:
            mlflow.log_metric("child", 1.0)
        mlflow.log_metric("parent", 1.0)
    assert seen == [None]
    assert run.get().data.metrics == {"parent": 1.0}
    found = stack.manager().get_run(child.info.run_id)
    assert found.data.metrics == {"child": 1.0}
    assert found.data.tags["mlflow.parentRunId"] == run.run_id


def test_as_mlflow_is_refused_where_mlflow_cannot_reach_the_run(stack: Stack) -> None:
    with stack.outage():
        run = stack.manager().start_run()
        with pytest.raises(NotDeliveredError, match="wait"), run.as_mlflow():
            pytest.fail("was entered")
    other = ExperimentManager(backend=MockBackend()).start_run()
    with pytest.raises(ConfigurationError, match="not MLflow"), other.as_mlflow():
        pytest.fail("was entered")
    primary_id = run.wait(30)
    with run.as_mlflow():
        mlflow.log_metric("late", 1.0)
    run.end()
    assert stack.manager().get_run(primary_id).data.metrics == {"late": 1.0}


def test_start_experiment_is_joined_where_mlflow_has_the_same_address(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    use_address_of(stack)
    manager = stack.manager()
    with manager.start_experiment(f"{stack.name} old") as run:
        mlflow.log_metric("fluent", 1.0)
        manager.create_improvement_experiment("a/1", {"features": [[1]]})
        with manager.start_experiment(f"{stack.name} inner") as inner:
            mlflow.log_metric("fluent", 3.0)
        mlflow.log_metric("again", 2.0)
    assert mlflow.active_run() is None
    assert run.get().data.metrics == {"fluent": 1.0, "again": 2.0}
    assert inner.get().data.metrics == {"fluent": 3.0}
    assert run.get().info.status == "FINISHED"
    assert warnings_of(caplog) == []


def test_start_experiment_warns_once_where_mlflow_has_another_address(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow.set_tracking_uri("http://someone:secret@127.0.0.1:9")
    manager = stack.manager()
    for _ in range(2):
        with manager.start_experiment(f"{stack.name} old"):
            assert mlflow.active_run() is None
    (warning,) = warnings_of(caplog)
    assert "http://127.0.0.1:9" in warning
    assert "secret" not in warning
    assert mlflow.get_tracking_uri() == "http://someone:secret@127.0.0.1:9"


def test_in_an_outage_start_experiment_goes_on_and_warns(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    use_address_of(stack)
    manager = stack.manager()
    with stack.outage(), manager.start_experiment(f"{stack.name} old") as run:
        assert mlflow.active_run() is None
        run.log_metric("m", 1.0)
    assert any("waits for it" in warning for warning in warnings_of(caplog))
    run.wait(30)


def test_a_fluent_run_that_began_inside_a_block_is_named_once(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    use_address_of(stack)
    with stack.manager().start_run() as run:
        other = mlflow.start_run()
        mlflow.log_metric("lost", 1.0)
    (warning,) = warnings_of(caplog)
    assert other.info.run_id in warning
    assert run.run_id in warning
    assert "as_mlflow" in warning
    caplog.clear()
    with stack.manager().start_run():  # it was there at entry
        pass
    assert warnings_of(caplog) == []
    mlflow.end_run()


def test_a_fluent_run_that_ended_inside_a_block_is_not_named(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    use_address_of(stack)
    with stack.manager().start_run(), mlflow.start_run():
        pass
    assert warnings_of(caplog) == []


def test_addresses_are_compared_as_the_backend_reads_them(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    settings = Settings.load(data_dir=tmp_path)
    runtime = ModelRegistry("sqlite:///here.db", settings=settings).runtime
    assert runtime.mlflow_address() == f"sqlite:///{tmp_path}/here.db"
    assert runtime.mlflow_address(f"sqlite:///{tmp_path}/here.db") == runtime.mlflow_address()
    assert runtime.mlflow_address("file:///mlruns") == ""
    with_slash = ModelRegistry("http://127.0.0.1:9/", settings=settings).runtime
    assert with_slash.mlflow_address("http://127.0.0.1:9") == with_slash.mlflow_address()
