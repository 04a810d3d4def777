"""Delivery of a backlog to a real server, beside the raw calls that it needs."""

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import IO

from mlflow import MlflowClient
from mlflow.entities import Metric as MlflowMetric

from hokusai_core import ExperimentManager, ModelRegistry
from hokusai_core.versions import register_version
from tests.benchmarks.harness import Bench, Figure, benchmark, timed

_RAW_THREADS = 4
"""As many as `hokusai sync` has in flight."""


def queueing(bench: Bench, **settings: object) -> ExperimentManager:
    """Make a manager that only queues; its drain is started by the benchmark."""
    return bench.manager(
        bench.mlflow_url, delivery="queued", durability="process", auto_sync=False, **settings
    )


def drained(manager: ExperimentManager) -> tuple[int, float]:
    """Deliver everything; give how many operations, and the seconds."""
    began = time.perf_counter()
    report = manager.runtime.drain().run(wait_seconds=30, stop=threading.Event())
    took = time.perf_counter() - began
    assert report.complete, report.reasons
    assert report.dead == 0
    return report.delivered, took


@benchmark("catch-up-metrics")
def catch_up_metrics(bench: Bench) -> list[Figure]:
    count = bench.count(20_000, least=2_000)
    manager = queueing(bench)
    client = MlflowClient(bench.mlflow_url)

    def raw() -> None:
        run_id = client.create_run("0").info.run_id
        for start in range(0, count, 1000):
            points = [
                MlflowMetric("loss", step / 7, 1_700_000_000_000 + step, step)
                for step in range(start, start + 1000)
            ]
            client.log_batch(run_id, points)

    def ours() -> float:
        run = manager.start_run()
        for step in range(count):
            run.log_metric("loss", step / 7, step=step)
        run.end()
        return drained(manager)[1]

    timed(raw)
    seconds = [(timed(raw), ours()) for _ in range(2)]
    theirs, own = (min(column) for column in zip(*seconds, strict=True))
    return [
        _rates(
            f"catching up, {count:,} single metrics of one run",
            (count / own, count / theirs),
            "metrics/s",
            "raw `log_batch(1000)`",
            0.85,
        )
    ]


@benchmark("catch-up-runs")
def catch_up_runs(bench: Bench) -> list[Figure]:
    count = bench.count(1_000, least=50)
    manager = queueing(bench)
    _queue_runs(manager, count)
    raw = partial(_raw_run, MlflowClient(bench.mlflow_url))

    sample = max(50, count // 4)
    serial = sample / timed(lambda: [raw(number) for number in range(sample)])
    together = sample / timed(lambda: _in_threads(raw, sample))
    own = count / drained(manager)[1]
    best = max(serial, together)
    return [
        _rates(
            f"catching up, {count:,} runs of 20 metrics",
            (own, best),
            "runs/s",
            f"raw calls ({serial:.0f} one after another, {together:.0f} in {_RAW_THREADS} threads)",
            0.9,
        )
    ]


_WORKER = """
import sys, threading, time
from pathlib import Path
from hokusai_core import ExperimentManager, Settings
from hokusai_core.clock import Deadline

settings = Settings.load(data_dir=Path(sys.argv[2]), auto_sync=False, exit_timeout=0.0)
manager = ExperimentManager("benchmarks", mlflow_tracking_uri=sys.argv[1], settings=settings)
manager.runtime.primary.get().tracking.tracking_check(Deadline(60.0))
print("ready", flush=True)
sys.stdin.readline()
began = time.time()
report = manager.runtime.drain().run(wait_seconds=30, stop=threading.Event())
print(report.delivered, report.dead, began, time.time(), flush=True)
"""
"""What `hokusai sync` does, once it is told to begin: the start of a process is not measured."""


@benchmark("catch-up-two-workers")
def catch_up_two_workers(bench: Bench) -> list[Figure]:
    count = bench.count(1_000, least=50)
    raw = partial(_raw_run, MlflowClient(bench.mlflow_url))
    one, two = (_rate_of_workers(bench, count, workers) for workers in (1, 2))
    sample = max(50, count // 4)
    few, many = (
        sample / timed(lambda threads=threads: _in_threads(raw, sample, threads))
        for threads in (_RAW_THREADS, 2 * _RAW_THREADS)
    )
    return [
        Figure(
            f"catching up, {count:,} runs of 20 metrics, two workers at once",
            f"{two:.0f} runs/s, {two / one:.2f} times one worker",
            f"raw calls in {2 * _RAW_THREADS} threads: {many:.0f} runs/s, "
            f"{many / few:.2f} times {_RAW_THREADS} threads",
            "helps where the server allows: at least 90% of the raw gain",
            two / one >= 0.9 * many / few,
        )
    ]


def _rate_of_workers(bench: Bench, count: int, workers: int) -> float:
    """Let worker processes deliver one backlog of runs together; gives runs per second."""
    manager = queueing(bench)
    _queue_runs(manager, count)
    waiting = manager.runtime.waiting()
    arguments = [bench.mlflow_url, str(manager.runtime.settings.data_dir)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _WORKER, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(workers)
        ]
        for process in started:
            assert _pipe(process.stdout).readline() == "ready\n"
        for process in started:
            _pipe(process.stdin).write("begin\n")
            _pipe(process.stdin).flush()
        told = [_pipe(process.stdout).readline().split() for process in started]
    assert sum(int(delivered) for delivered, *_ in told) == waiting
    assert not any(int(dead) for _, dead, *_ in told)
    began, ended = min(float(one[2]) for one in told), max(float(one[3]) for one in told)
    return count / (ended - began)


def _queue_runs(manager: ExperimentManager, count: int) -> None:
    for number in range(count):
        with manager.start_run(run_name=f"run {number}") as run:
            run.log_metrics({f"m{one}": number / 7 for one in range(20)})


def _raw_run(client: MlflowClient, number: int) -> None:
    """Make the calls that one of these runs needs."""
    run_id = client.create_run("0", run_name=f"run {number}").info.run_id
    points = [MlflowMetric(f"m{n}", number / 7, 1_700_000_000_000, 0) for n in range(20)]
    client.log_batch(run_id, points)
    client.set_terminated(run_id)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@benchmark("catch-up-registrations")
def catch_up_registrations(bench: Bench) -> list[Figure]:
    count = bench.count(1_000, least=50)
    manager = queueing(bench)
    registry = ModelRegistry(bench.mlflow_url, settings=manager.runtime.settings)
    client = MlflowClient(bench.mlflow_url)
    run = manager.start_run()
    drained(manager)
    name = f"queued {uuid.uuid4().hex[:8]}"
    source = f"s3://bucket/{name}"
    for _ in range(count):
        register_version(registry.runtime, name, source=source, run_id=run.run_id)
    other = f"raw {uuid.uuid4().hex[:8]}"
    client.create_registered_model(other)

    def raw(_: int) -> None:
        client.create_model_version(
            other, source, tags={"hokusai.op_id": "x"}, await_creation_for=0
        )

    # As many in all: a server may get slower with the number of a model's versions.
    sample = count // 2
    before = timed(lambda: [raw(number) for number in range(sample)])
    own = count / drained(manager)[1]
    after = timed(lambda: [raw(number) for number in range(sample)])
    serial = 2 * sample / (before + after)
    return [
        _rates(
            f"catching up, {count:,} registrations",
            (own, serial),
            "versions/s",
            "raw `create_model_version`",
            0.9,
        )
    ]


def _in_threads(call: Callable[[int], object], count: int, threads: int = _RAW_THREADS) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, range(count)))


def _rates(what: str, rates: tuple[float, float], unit: str, peer: str, share: float) -> Figure:
    own, theirs = rates
    return Figure(
        what,
        f"{own:,.0f} {unit}, {own / theirs:.0%}",
        f"{peer}: {theirs:,.0f} {unit}",
        f"at least {share:.0%} of the raw rate",
        own >= share * theirs,
    )
