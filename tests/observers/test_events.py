"""What observers hear: each event once, with real ids, from whoever delivers."""

import threading
import time
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, ModelRegistry, RejectedError, Settings
from hokusai_core.events import (
    CircuitChanged,
    DeadLettered,
    FallbackBegan,
    FallbackEnded,
    ModelRegistered,
    RunDelivered,
)
from hokusai_core.identifiers import is_provisional
from hokusai_core.markers import hookimpl
from hokusai_core.testing import MockBackend
from tests.behaviour.stack import Stack
from tests.support.recorder import Recorder
from tests.support.waiting import wait_for


def test_in_health_a_run_and_a_version_are_told_with_their_real_ids(failing: Stack) -> None:
    recorder = Recorder()
    registry = failing.registry()
    registry.runtime.observers.add([recorder])
    manager = failing.manager()
    with manager.start_run() as run:
        run.log_metric("loss", 0.5)
    name = failing.model_name()
    version = registry.register_model("s3://bucket/model", name, tags={"team": "a"})
    assert registry.runtime.observers.flush(10)
    (delivered,) = recorder.of(RunDelivered)
    assert (delivered.run_id, delivered.provisional_id, delivered.status) == (
        run.run_id,
        "",
        "FINISHED",
    )
    assert delivered.end_time == manager.get_run(run.run_id).info.end_time
    (registered,) = recorder.of(ModelRegistered)
    assert (registered.name, registered.version) == (name, version.version)
    assert (registered.provisional_id, registered.tags["team"]) == ("", "a")
    assert registered.destination == registry.runtime.destination
    assert recorder.of(FallbackBegan) == recorder.of(CircuitChanged) == []


def test_an_outage_is_told_in_order_and_its_records_when_they_arrive(failing: Stack) -> None:
    recorder = Recorder()
    registry = failing.registry()
    registry.runtime.observers.add([recorder])
    manager = failing.manager()
    manager.start_run().end()
    name = failing.model_name()
    with failing.outage():
        with manager.start_run() as run:
            run.log_metric("loss", 0.5)
        version = registry.register_model("s3://bucket/model", name)
        assert registry.runtime.observers.flush(10)
        (began,) = recorder.of(FallbackBegan)
        assert began.place == "journal"
        assert began.reason
        assert recorder.of(ModelRegistered) == recorder.of(FallbackEnded) == []
        assert len(recorder.of(RunDelivered)) == 1
    assert wait_for(lambda: recorder.of(FallbackEnded), 60)
    assert registry.runtime.observers.flush(10)
    (ended,) = recorder.of(FallbackEnded)
    assert ended.operations >= 4
    arrived = [event for event in recorder.of(RunDelivered) if event.provisional_id]
    assert [event.provisional_id for event in arrived] == [run.run_id]
    assert arrived[0].run_id == run.primary_id
    (registered,) = recorder.of(ModelRegistered)
    assert is_provisional(registered.provisional_id)
    assert registered.provisional_id == version.version
    assert registered.version == registry.get_model_version(name, version.version).version == "1"
    changes = [(e.old, e.new) for e in recorder.of(CircuitChanged) if e.circuit == "primary"]
    assert changes[0] == ("closed", "open")
    assert changes[-1] == ("half_open", "closed")
    kinds = [type(event) for event in recorder.events]
    assert kinds.index(FallbackBegan) < kinds.index(ModelRegistered) < kinds.index(FallbackEnded)


def test_a_dead_letter_is_told(tmp_path: Path) -> None:
    recorder, mock = Recorder(), MockBackend()
    manager = ExperimentManager("dead", backend=mock, observers=[recorder])
    run = manager.start_run()
    mock.down()
    run.log_param("lr", 0.1)
    mock.reject("log_batch", RejectedError("No params today."))
    mock.up()
    assert wait_for(lambda: recorder.of(DeadLettered))
    (letter,) = recorder.of(DeadLettered)
    assert (letter.kind, letter.error) == ("log_batch", "No params today.")
    assert letter.stream == f"run/{run.run_id}"
    run.end()


def test_whoever_delivers_tells(tmp_path: Path) -> None:
    """The job queues without delivering; a worker with its own machinery has the observer."""
    mock = MockBackend()
    settings = Settings.load(
        auto_sync=False, fallback="sql", data_dir=tmp_path, circuit_open_seconds=0.01
    )
    heard_by_job, heard_by_worker = Recorder(), Recorder()
    job = ModelRegistry(backend=mock, settings=settings, observers=[heard_by_job])
    mock.down()
    job.register_model("s3://bucket/model", "m")
    mock.up()
    worker = ModelRegistry(
        backend=mock,
        settings=settings.model_copy(update={"attempts": 1}),
        observers=[heard_by_worker],
    )
    assert worker.runtime is not job.runtime
    report = worker.runtime.drain().run(wait_seconds=10, stop=threading.Event())
    assert report.complete
    assert worker.runtime.observers.flush(10)
    assert job.runtime.observers.flush(10)
    assert [event.version for event in heard_by_worker.of(ModelRegistered)] == ["1"]
    assert heard_by_job.of(ModelRegistered) == []
    for each in (job, worker):
        each.runtime.close_connections()


def test_no_lock_is_held_while_an_observer_works() -> None:
    """An observer calls the library back about the very things that it hears of."""
    mock, done = MockBackend(), threading.Event()
    seen: list[str] = []

    class CallsBack:
        @hookimpl
        def observer_fallback_began(self, event: FallbackBegan) -> None:
            run.log_metric("from an observer", 1.0)
            seen.append(manager.get_run(run.run_id).sync_state)
            done.set()

        @hookimpl
        def observer_circuit_changed(self, event: CircuitChanged) -> None:
            seen.append(manager.runtime.circuits.primary.state)

    manager = ExperimentManager("calls back", backend=mock, observers=[CallsBack()])
    run = manager.start_run()
    mock.down()
    run.set_tag("state", "lost")
    assert done.wait(10)
    mock.up()
    run.wait(30)
    run.end()
    assert seen


@pytest.mark.parametrize("count", [3])
def test_a_hanging_observer_holds_up_neither_job_nor_others(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    release, recorder, mock = threading.Event(), Recorder(), MockBackend()

    class Hangs:
        @hookimpl
        def observer_run_delivered(self, event: RunDelivered) -> None:
            release.wait(60)

    settings = Settings.load(observer_timeout=0.05)
    manager = ExperimentManager(
        "hangs", backend=mock, settings=settings, observers=[Hangs(), recorder]
    )
    began = time.monotonic()
    try:
        for _ in range(count):
            manager.start_run().end()
            assert wait_for(lambda: manager.runtime.observers.status()[0].state == "hanging")
        assert wait_for(lambda: len(recorder.of(RunDelivered)) == count)
        assert time.monotonic() - began < 20
        hanging, ready = manager.runtime.observers.status()
        assert (hanging.name, hanging.state, hanging.told) == ("Hangs", "hanging", 0)
        assert (ready.state, ready.told) == ("ready", count)
    finally:
        release.set()
    assert manager.runtime.observers.flush(10)
    assert manager.runtime.observers.status()[0].told == count
    warned = [record for record in caplog.records if "Hangs" in record.getMessage()]
    assert len(warned) == 1


def test_a_failing_observer_harms_nothing_and_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder, mock = Recorder(), MockBackend()

    class Fails:
        @hookimpl
        def observer_run_delivered(self, event: RunDelivered) -> None:
            raise RuntimeError("my own defect")

        @hookimpl
        def observer_model_registered(self, event: ModelRegistered) -> None:
            raise SystemExit(3)

    manager = ExperimentManager("fails", backend=mock, observers=[Fails(), recorder])
    for _ in range(3):
        manager.start_run().end()
    ModelRegistry(backend=mock).register_model("s3://bucket/model", "m")
    assert manager.runtime.observers.flush(10)
    assert len(recorder.of(RunDelivered)) == 3
    failing, ready = manager.runtime.observers.status()
    assert (failing.state, failing.failed, failing.told) == ("failing", 4, 0)
    assert failing.error == "SystemExit: 3"
    assert ready.told == 4
    warned = [record for record in caplog.records if "'Fails'" in record.getMessage()]
    assert [record.levelname for record in warned] == ["WARNING", "WARNING"]
    assert "my own defect" in warned[0].getMessage()
    assert all(run.info.status == "FINISHED" for run in mock.store.runs())


def test_an_observer_that_is_too_slow_misses_events_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from hokusai_core import listener as module

    release, mock = threading.Event(), MockBackend()

    class Slow:
        @hookimpl
        def observer_run_delivered(self, event: RunDelivered) -> None:
            release.wait(60)

    manager = ExperimentManager("slow", backend=mock, observers=[Slow()])
    event = RunDelivered(destination="x", run_id="r", status="FINISHED")
    most = module._MOST_QUEUED
    try:
        for _ in range(most + 11):
            manager.runtime.observers.emit(event)
    finally:
        release.set()
    assert manager.runtime.observers.flush(30)
    (state,) = manager.runtime.observers.status()
    assert state.dropped in (10, 11)
    assert state.told + state.dropped == most + 11
    assert len([r for r in caplog.records if "misses some" in r.getMessage()]) == 1
