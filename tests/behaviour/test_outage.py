"""An outage: nothing raises, all is readable at once, and it arrives once when the primary is back."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from hokusai_core import ExperimentManager, NotDeliveredError
from hokusai_core.identifiers import is_provisional
from tests.behaviour.stack import Stack
from tests.support.waiting import wait_for

X, Y = load_iris(return_X_y=True)


def settled(stack: Stack) -> bool:
    """Whether nothing of this stack's primary waits any more; fails with what still does."""
    runtime = stack.registry().runtime
    if wait_for(lambda: runtime.waiting() == 0, 30.0):
        return True
    fallback = runtime.fallback
    assert fallback is not None
    raise AssertionError(
        f"still waiting: {fallback.backlog(runtime.destination)}, "
        f"circuit {runtime.circuits.primary.state}, drainer running {runtime.drainer.running}"
    )


def test_a_run_that_began_in_health_goes_on(
    failing: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    manager = failing.manager()
    with manager.start_run(run_name="before") as run:
        run.log_param("lr", 0.1)
        run.log_metric("loss", 0.9, step=0)
        run.set_tag("stage", "early")
        with failing.outage():
            started = time.monotonic()
            for step in range(1, 30):
                run.log_metric("loss", 1 / step, step=step)
            run.set_tag("stage", "late")
            run.log_param("layers", 3)
            assert time.monotonic() - started < 15
            assert run.sync_state == "pending"
            assert run.primary_id == run.run_id
            seen = manager.get_run(run.run_id)
            assert seen.data.metrics["loss"] == 1 / 29
            assert seen.data.params == {"lr": "0.1", "layers": "3"}
            assert seen.data.tags["stage"] == "late"
            assert (seen.source, seen.sync_state, seen.complete) == ("fallback", "pending", False)
            with pytest.raises(NotDeliveredError, match="hokusai sync"):
                run.wait(0.01)
    assert run.wait(30) == run.run_id
    found = manager.get_run(run.run_id)
    assert (found.source, found.sync_state, found.complete) == ("primary", "delivered", True)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"lr": "0.1", "layers": "3"}
    assert found.data.tags["stage"] == "late"
    points = manager.get_metric_history(run.run_id, "loss")
    assert [point.step for point in points] == list(range(30))
    warnings = [r for r in caplog.records if r.name == "hokusai" and r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "Nothing is lost" in warnings[0].getMessage()


def test_a_run_that_begins_in_an_outage_is_readable_and_keeps_its_id(failing: Stack) -> None:
    manager = failing.manager()
    with failing.outage():
        with manager.start_run(run_name="ghost?", tags={"team": "a"}) as parent:
            parent.log_metrics({"loss": 0.5, "accuracy": 0.5}, step=1)
            with manager.start_run(nested=True) as child:
                child.log_metric("loss", 0.25)
        assert is_provisional(parent.run_id)
        assert (parent.primary_id, parent.sync_state) == (None, "pending")
        seen = manager.get_run(parent.run_id)
        assert seen.info.run_name == "ghost?"
        assert seen.info.status == "FINISHED"
        assert seen.data.metrics == {"loss": 0.5, "accuracy": 0.5}
        assert (seen.source, seen.sync_state, seen.complete) == ("fallback", "pending", True)
        assert len(manager.search_runs("metrics.loss >= 0.25")) == 2
        assert len(manager.search_runs("metrics.accuracy > 0")) == 1
        ended = seen.info.end_time
    assert settled(failing)
    primary_id = parent.wait(30)
    assert not is_provisional(primary_id)
    assert is_provisional(parent.run_id)
    for name in (parent.run_id, primary_id):
        found = manager.get_run(name)
        assert found.info.run_id == primary_id
        assert found.info.start_time == parent.info.start_time
        assert found.info.end_time == ended
        assert found.data.tags["team"] == "a"
        assert found.sync_state == "delivered"
    assert child.get().data.tags["mlflow.parentRunId"] == primary_id
    runs = failing.manager().search_runs()
    assert sorted(run.info.run_id for run in runs) == sorted([primary_id, child.wait(1)])


def test_writes_after_the_outage_do_not_overtake_what_waits(failing: Stack) -> None:
    manager = failing.manager()
    run = manager.start_run()
    with failing.outage():
        for number in range(50):
            run.set_tag("counter", number)
    for number in range(50, 80):
        run.set_tag("counter", number)
    run.end()
    run.wait(30)
    assert manager.get_run(run.run_id).data.tags["counter"] == "79"


def test_artifacts_wait_and_are_readable(failing: Stack, tmp_path: Path) -> None:
    source = tmp_path / "vanishing.txt"
    source.write_text("bytes")
    manager = failing.manager()
    with manager.start_run() as run:
        run.log_text("delivered", "texts/first.txt")
        with failing.outage():
            run.log_artifact(source, "texts")
            run.log_text("old", "texts/second.txt")
            run.log_text("new", "texts/second.txt")
            source.unlink()
            listed = [entry.path for entry in run.list_artifacts("texts")]
            assert "texts/vanishing.txt" in listed
            assert "texts/second.txt" in listed
            copy = run.download_artifacts("texts/second.txt", tmp_path / "in outage")
            assert copy.read_text() == "new"
    run.wait(30)
    folder = run.download_artifacts("texts", tmp_path / "after")
    assert sorted(file.name for file in folder.iterdir()) == [
        "first.txt",
        "second.txt",
        "vanishing.txt",
    ]
    assert (folder / "second.txt").read_text() == "new"
    assert (folder / "vanishing.txt").read_text() == "bytes"


def test_a_registration_waits_predicts_the_same_and_gets_its_version(failing: Stack) -> None:
    model = LogisticRegression(max_iter=500).fit(X, Y)
    registry, name = failing.registry(), failing.model_name()
    first = registry.register_baseline(model=model, model_type=name)
    with failing.outage():
        entry = registry.register_baseline(model=model, model_type=name, tags={"from": "outage"})
        assert (entry.sync_state, entry.mlflow_version) == ("pending", "")
        assert is_provisional(entry.registry_version)
        seen = registry.get_model_version(name, entry.registry_version)
        assert seen.sync_state == "pending"
        assert seen.tags["from"] == "outage"
        loaded = registry.load_model(entry.model_uri)
        assert (loaded.predict(X) == model.predict(X)).all()
        registry.set_alias(name, "production", entry.registry_version)
        assert (
            registry.get_model_version_by_alias(name, "production").version
            == entry.registry_version
        )
        assert registry.get_model_by_id(entry.model_id).sync_state == "pending"
        if failing.backend != "sql":
            # Where the journal is in the primary's own database, both are away.
            known = registry.get_model_version(name, first.mlflow_version)
            assert known.tags["model_id"] == first.model_id
            assert len(registry.search_model_versions(name)) == 2
    assert settled(failing)
    found = registry.get_model_version(name, entry.registry_version)
    assert (found.version, found.sync_state) == ("2", "delivered")
    assert found.tags["from"] == "outage"
    assert registry.get_registered_model(name).aliases == {"production": "2"}
    assert len(registry.search_model_versions(name)) == 2
    again = registry.load_model(f"models:/{name}@production")
    assert (again.predict(X) == model.predict(X)).all()


def test_a_second_sync_changes_nothing(failing: Stack) -> None:
    manager = failing.manager()
    with failing.outage(), manager.start_run() as run:
        run.log_metric("loss", 0.5)
        run.log_text("x", "x.txt")
    run.wait(30)
    before = (manager.get_run(run.run_id), manager.get_metric_history(run.run_id, "loss"))
    drain = manager.runtime.drain()
    report = drain.run(wait_seconds=0.0, stop=threading.Event())
    assert (report.delivered, report.left, report.complete) == (0, 0, True)
    assert (
        manager.get_run(run.run_id),
        manager.get_metric_history(run.run_id, "loss"),
    ) == before
    assert len(manager.search_runs()) == 1


@pytest.mark.parametrize("kind", ["mlflow-sqlite", "mlflow-postgresql", "postgresql"])
def test_another_process_resumes_a_waiting_run_behind_what_waits(
    make_stack: Callable[[str], Stack], kind: str
) -> None:
    """A manager with machinery of its own (as another process has) attaches to the same run."""
    failing = make_stack(kind)
    manager = failing.manager()
    run = manager.start_run()
    with failing.outage():
        run.set_tag("who", "first")
    other = ExperimentManager(
        failing.name,
        failing.tracking_uri,
        backend=failing.backend,
        settings=failing.settings.model_copy(update={"attempts": 1}),
    )
    assert other.runtime is not manager.runtime
    resumed = other.start_run(run.run_id)
    resumed.set_tag("who", "second")
    resumed.end()
    resumed.wait(30)
    run.wait(30)
    other.runtime.drainer.stop(5.0)
    other.runtime.close_connections()
    assert manager.get_run(run.run_id).data.tags["who"] == "second"
