"""Delivery and durability modes: what each promises, and that none gives up order or exactly once."""

import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from hokusai_core import (
    ConfigurationError,
    ExperimentManager,
    InvalidInputError,
    JournalUnavailableError,
    ModelRegistry,
    NotStoredError,
    Settings,
)
from hokusai_core.group_commit import GroupCommit
from hokusai_core.testing import MockBackend
from tests.acceptance import programs
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.ports import free_port
from tests.support.waiting import wait_for

DURABILITIES = ("machine", "process", "relaxed")

Make = Callable[..., ExperimentManager]


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def queued(mock: MockBackend, tmp_path: Path) -> Iterator[Make]:
    """Makes managers with queued delivery over one mock and one SQLite journal."""
    made: list[ExperimentManager] = []

    def make(**values: Any) -> ExperimentManager:
        modes = {name: values.pop(name, None) for name in ("delivery", "durability")}
        settings = {
            "data_dir": tmp_path / "data",
            "fallback": "sql",
            "late_effect_seconds": 0.2,
            "circuit_open_seconds": 0.1,
            "circuit_open_max_seconds": 0.2,
            "exit_timeout": 0.0,
            "delivery": "queued",
        }
        manager = ExperimentManager(
            "modes", backend=mock, settings=Settings.load(**settings | values), **modes
        )
        made.append(manager)
        return manager

    yield make
    mock.up()
    for manager in made:
        manager.runtime.close(5.0)
        manager.runtime.drainer.stop(5.0)
        manager.runtime.close_connections()


@pytest.mark.parametrize("durability", DURABILITIES)
def test_queued_writes_never_ask_the_primary_and_arrive_in_order_once(
    durability: str, queued: Make, mock: MockBackend
) -> None:
    mock.down()
    manager = queued(durability=durability)
    with manager.start_run(run_name="first", tags={"stage": "0"}) as run:
        for step in range(50):
            run.log_metric("loss", step / 7, step=step)
            if step % 10 == 0:
                run.set_tag("stage", step)
        run.log_params({"lr": 0.1})
        run.log_text("text", "a.txt")
        # What was written is read at once, whatever is still in memory.
        seen = run.get()
        assert (seen.data.metrics["loss"], seen.data.tags["stage"]) == (49 / 7, "40")
        assert len(manager.get_metric_history(run.run_id, "loss")) == 50
        assert run.sync_state == "pending"
    mock.up()
    primary_id = run.wait(30)
    stored = queued(delivery="direct").get_run(primary_id)
    assert stored.source == "primary"
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"lr": "0.1"}
    assert stored.data.tags["stage"] == "40"
    history = queued(delivery="direct").get_metric_history(primary_id, "loss")
    assert [(one.step, one.value) for one in history] == [(n, n / 7) for n in range(50)]
    assert len(manager.search_runs()) == 1


def test_no_call_waits_for_a_primary_that_does_not_answer(queued: Make, mock: MockBackend) -> None:
    release = threading.Event()
    plain = mock.write

    def stuck(*arguments: Any, **options: Any) -> Any:
        release.wait(60)
        return plain(*arguments, **options)

    mock.write = stuck  # type: ignore[method-assign]
    try:
        began = time.monotonic()
        with queued().start_run() as run:
            for step in range(100):
                run.log_metric("loss", 0.5, step=step)
        assert time.monotonic() - began < 20, "one call alone would wait for a minute"
        assert not release.is_set()
    finally:
        release.set()
    run.wait(30)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_bad_input_is_refused_at_the_call_and_nothing_is_written(
    durability: str, queued: Make, mock: MockBackend
) -> None:
    mock.down()
    manager = queued(durability=durability)
    run = manager.start_run()
    run.log_metric("loss", 0.5)
    before = manager.runtime.waiting()
    for bad in (
        lambda: run.log_metric("bad\0key", 1.0),
        lambda: run.log_metric("loss", "text"),
        lambda: run.log_metric("loss", 1.0, step=2**70),
        lambda: run.log_metrics({"good": 1.0, "": 2.0}),
        lambda: run.log_metric("loss", 1.0, timestamp=-1),
    ):
        with pytest.raises(InvalidInputError):
            bad()
    assert manager.runtime.waiting() == before
    assert run.get().data.metrics == {"loss": 0.5}


def test_managers_of_one_process_keep_one_order_whatever_their_modes(
    queued: Make, mock: MockBackend
) -> None:
    """What is written directly never overtakes what an other manager has queued, or has in memory."""
    mock.down()
    relaxed, direct = queued(durability="relaxed"), queued(delivery="direct", auto_sync=True)
    assert relaxed.runtime is not direct.runtime
    run = relaxed.start_run()
    run.log_metric("loss", 1.0, step=1)
    run.set_tag("stage", "first")
    mock.up()
    with direct.start_run(run.run_id) as same:
        same.log_metric("loss", 2.0, step=2)
        same.set_tag("stage", "second")
    run.set_tag("stage", "third")
    primary_id = run.wait(30)
    stored = direct.get_run(primary_id)
    assert stored.data.tags["stage"] == "third"
    assert stored.data.metrics["loss"] == 2.0
    assert stored.info.status == "FINISHED"


def test_the_end_of_a_run_its_wait_and_close_flush(
    queued: Make, mock: MockBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hokusai_core.group_commit.INTERVAL_SECONDS", 3600.0)
    manager = queued(durability="relaxed")
    run = manager.start_run()
    run.log_metric("loss", 0.5)
    primary_id = run.wait(30)
    assert queued(delivery="direct").get_run(primary_id).data.metrics == {"loss": 0.5}
    run.log_metric("loss", 0.25, step=1)
    assert manager.runtime.close(30) == 0
    assert queued(delivery="direct").get_run(primary_id).data.metrics == {"loss": 0.25}


def test_a_flush_that_fails_is_raised_at_the_next_call(
    queued: Make, mock: MockBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock.down()
    manager = queued(durability="relaxed")
    run = manager.start_run()
    fallback = manager.runtime.fallback
    assert fallback is not None
    append = fallback.append

    def full(*_: Any) -> str:
        raise NotStoredError("The disk is full.", ())

    monkeypatch.setattr(fallback, "append", full)
    run.log_metric("loss", 0.5)
    buffer = manager.runtime.points.buffer()
    assert isinstance(buffer, GroupCommit)
    assert wait_for(lambda: buffer._failing)
    for write in (
        lambda: run.log_metric("loss", 0.6, step=1),
        lambda: run.set_tag("stage", "x"),
    ):
        with pytest.raises(NotStoredError, match="The disk is full"):
            write()
    with pytest.raises(JournalUnavailableError, match="The disk is full"):
        run.get()
    monkeypatch.setattr(fallback, "append", append)
    run.log_metric("loss", 0.7, step=2)
    assert [one.value for one in manager.get_metric_history(run.run_id, "loss")] == [0.5, 0.7]


def test_modes_are_arguments_and_settings(
    mock: MockBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_DELIVERY", "queued")
    monkeypatch.setenv("HOKUSAI_DURABILITY", "process")
    by_environment = ExperimentManager(backend=mock)
    assert by_environment.config.settings.delivery == "queued"
    assert by_environment.config.settings.durability == "process"
    registry = ModelRegistry(backend=mock, delivery="direct", durability="machine")
    assert registry.runtime.settings.delivery == "direct"
    shared = ExperimentManager(registry, delivery="queued")
    assert shared.runtime.settings.delivery == "queued"
    assert shared.runtime.settings.durability == "machine"
    assert shared.runtime.streams is registry.runtime.streams
    for wrong in ({"delivery": "fast"}, {"durability": "none"}, {"delivery": 1}):
        with pytest.raises(ConfigurationError, match=r"(?i)delivery|durability"):
            ExperimentManager(backend=mock, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="needs a journal"):
        ExperimentManager(backend="mlflow", settings=Settings.load(fallback="none"))


# A job that is killed while it logs. It tells each step that the call for it has returned.
JOB = """
    import sys, time
    from hokusai_core import ExperimentManager, Settings

    manager = ExperimentManager("killed", delivery=sys.argv[1], durability=sys.argv[2])
    run = manager.start_run()
    print(run.run_id, flush=True)
    step = 0
    while True:
        run.log_metric("loss", step / 7, step=step)
        print(step, time.monotonic(), flush=True)
        step += 1
"""


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("delivery", ["queued", "direct"])
def test_what_a_killed_process_loses_is_what_its_mode_says(delivery: str, durability: str) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with programs.running(JOB, delivery, durability, MLFLOW_TRACKING_URI=uri) as job:
        assert job.stdout is not None
        run_id = job.stdout.readline().strip()
        told: list[tuple[int, float]] = []
        while not told or (told[-1][0] < 300 or told[-1][1] < told[0][1] + 0.3):
            step, moment = job.stdout.readline().split()
            told.append((int(step), float(moment)))
        job.send_signal(signal.SIGKILL)
        told += [
            (int(fields[0]), float(fields[1]))
            for line in job.stdout.read().splitlines()
            if len(fields := line.split()) == 2
        ]
        job.wait(30)
    reader = ExperimentManager(
        "killed", mlflow_tracking_uri=uri, settings=Settings.load(auto_sync=False)
    )
    kept = [one.step for one in reader.get_metric_history(run_id, "loss")]
    reader.runtime.close_connections()
    assert kept == list(range(len(kept))), "a gap"
    if (delivery, durability) == ("queued", "relaxed"):
        # 50 ms, and the time of a flush on a loaded machine.
        assert told[-1][1] - told[len(kept) - 1][1] < 5.0 if len(kept) < len(told) else True
        assert kept, "something was flushed before"
    else:
        assert len(kept) >= len(told)


# A job that is killed in the middle of a flush: before, or after the journal has taken what is flushed.
KILLED_IN_A_FLUSH = """
    import os, signal, sys, time
    from hokusai_core import ExperimentManager

    manager = ExperimentManager("killed in a flush", delivery=sys.argv[2], durability="process")
    run = manager.start_run()
    print(run.run_id, flush=True)
    run.log_metric("loss", 0.0, step=0)
    run.get()
    fallback = manager.runtime.fallback
    append = fallback.append

    def last(*arguments):
        if sys.argv[1] == "after":
            append(*arguments)
        print(step, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    fallback.append = last
    for step in range(1, 1_000_000):
        run.log_metrics({"loss": step / 7, "accuracy": step / 9}, step=step)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("delivery", ["queued", "direct"])
def test_a_kill_in_a_flush_loses_nothing_and_makes_nothing_twice(
    delivery: str, moment: str, mlflow_server: MlflowServer
) -> None:
    with FaultProxy(mlflow_server.port, mode="refuse") as proxy:
        variables = {"MLFLOW_TRACKING_URI": proxy.url, "HOKUSAI_AUTO_SYNC": "false"}
        done = programs.run(KILLED_IN_A_FLUSH, moment, delivery, code=-signal.SIGKILL, **variables)
        proxy.mode = "pass"
        run_id, told = done.stdout.split()
        reader = ExperimentManager(
            "killed in a flush",
            mlflow_tracking_uri=proxy.url,
            settings=Settings.load(auto_sync=False),
        )
        assert reader.runtime.drain().run(wait_seconds=30, stop=threading.Event()).complete
        primary_id = reader.get_run(run_id).info.run_id
        reader.runtime.close_connections()
    client = MlflowClient(mlflow_server.url)
    for key, divisor in (("loss", 7), ("accuracy", 9)):
        history = client.get_metric_history(primary_id, key)
        found = sorted((point.step, point.value) for point in history if point.step)
        # The call of the step that was told may have been under way.
        assert len(found) >= int(told) - 1 > 0
        assert found == [(step, step / divisor) for step in range(1, len(found) + 1)]


FORKING = """
    import json, os, sys
    from hokusai_core import ExperimentManager

    manager = ExperimentManager("forked", delivery=sys.argv[1], durability="relaxed")
    run = manager.start_run()
    for step in range(10):
        run.log_metric("loss", step, step=step)
    child = os.fork()
    if child == 0:
        assert len(manager.get_metric_history(run.run_id, "loss")) == 10
        for step in range(10, 20):
            run.log_metric("loss", step, step=step)
        run.get()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for step in range(20, 30):
        run.log_metric("loss", step, step=step)
    history = manager.get_metric_history(run.run_id, "loss")
    print(json.dumps([one.step for one in history]))
"""


@pytest.mark.parametrize("delivery", ["queued", "direct"])
def test_a_forked_child_has_what_was_logged_before_and_loses_nothing_of_its_own(
    delivery: str,
) -> None:
    done = programs.run(
        FORKING,
        delivery,
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}",
        HOKUSAI_EXIT_TIMEOUT="0.1",
    )
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == list(range(30))


AT_EXIT = """
    import sys
    from hokusai_core import ExperimentManager

    manager = ExperimentManager("exit", delivery="queued", durability="relaxed")
    run = manager.start_run()
    print(run.run_id)
    run.log_metric("loss", 0.5)
"""


def test_the_end_of_the_process_flushes() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    done = programs.run(
        AT_EXIT, to_the_end=True, MLFLOW_TRACKING_URI=uri, HOKUSAI_EXIT_TIMEOUT="0.1"
    )
    reader = ExperimentManager(
        "exit", mlflow_tracking_uri=uri, settings=Settings.load(auto_sync=False)
    )
    found = reader.get_metric_history(done.stdout.split()[0], "loss")
    reader.runtime.close_connections()
    assert [one.value for one in found] == [0.5]
    assert uuid.UUID(hex=done.stdout.split()[0][-32:]).version == 4
