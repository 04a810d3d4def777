"""32 threads at the moment of recovery: one of them asks the server, the others do not wait for it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hokusai_core import ExperimentManager, Settings
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for

THREADS = 32
NEVER = {"circuit_open_seconds": 600.0, "circuit_open_max_seconds": 600.0}


def make_manager(mock: MockBackend, folder: Path) -> ExperimentManager:
    settings = Settings.load(data_dir=folder, auto_sync=False, late_effect_seconds=0.0, **NEVER)
    return ExperimentManager("probe", backend=mock, settings=settings)


def test_the_first_call_after_recovery_is_the_only_one(tmp_path: Path) -> None:
    mock = MockBackend()
    manager = make_manager(mock, tmp_path)
    runtime = manager.runtime
    runs = [manager.start_run(nested=True) for _ in range(THREADS)]
    with manager.start_run(nested=True) as first:
        mock.down()
        first.log_metric("loss", 0.5)
    mock.up()
    circuit = runtime.circuits.primary
    assert circuit.state == "open"

    primary = runtime.primary.get()
    plain_write, answer = primary.write, threading.Event()
    asked: list[Any] = []

    def slow_write(*arguments: Any) -> Any:
        asked.append(arguments)
        assert answer.wait(60.0)
        return plain_write(*arguments)

    primary.write = slow_write  # type: ignore[method-assign]
    circuit._open_until = 0.0
    together = threading.Barrier(THREADS)

    def log(number: int) -> None:
        together.wait(60.0)
        runs[number].log_metric("loss", number)

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            calls = [pool.submit(log, number) for number in range(THREADS)]
            assert wait_for(lambda: sum(call.done() for call in calls) == THREADS - 1, 60.0)
            assert len(asked) == 1
        finally:
            answer.set()
        for call in calls:
            call.result(60.0)
    assert circuit.state == "closed"
    assert sorted(run.sync_state for run in runs) == ["delivered"] + ["pending"] * (THREADS - 1)
    assert runtime.drain().run(wait_seconds=30.0, stop=threading.Event()).left == 0
    assert {run.get().data.metrics["loss"] for run in runs} == set(range(THREADS))
    runtime.close_connections()


def test_each_destination_has_its_own_circuit(tmp_path: Path) -> None:
    away, well = MockBackend(), MockBackend()
    managers = [make_manager(mock, tmp_path) for mock in (away, well)]
    away.down()
    states = []
    for manager in managers:
        with manager.start_run() as run:
            run.log_metric("loss", 0.5)
        states.append((manager.runtime.circuits.primary.state, run.sync_state))
        manager.runtime.close_connections()
    assert states == [("open", "pending"), ("closed", "delivered")]
