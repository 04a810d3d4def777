"""Delivery of a backlog to a real server, beside the raw calls that it needs."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
    client = MlflowClient(bench.mlflow_url)
    for number in range(count):
        with manager.start_run(run_name=f"run {number}") as run:
            run.log_metrics({f"m{one}": number / 7 for one in range(20)})

    def raw(number: int) -> None:
        run_id = client.create_run("0", run_name=f"run {number}").info.run_id
        points = [MlflowMetric(f"m{n}", number / 7, 1_700_000_000_000, 0) for n in range(20)]
        client.log_batch(run_id, points)
        client.set_terminated(run_id)

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

    sample = max(50, count // 4)
    serial = sample / timed(lambda: [raw(number) for number in range(sample)])
    own = count / drained(manager)[1]
    return [
        _rates(
            f"catching up, {count:,} registrations",
            (own, serial),
            "versions/s",
            "raw `create_model_version`",
            0.9,
        )
    ]


def _in_threads(call: Callable[[int], object], count: int) -> None:
    with ThreadPoolExecutor(_RAW_THREADS) as pool:
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
