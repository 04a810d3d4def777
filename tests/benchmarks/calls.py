"""One call: healthy, in an outage, and queued; beside the peer that does the same."""

import sqlite3
from pathlib import Path

import psycopg
from mlflow import MlflowClient
from mlflow.entities import Metric as MlflowMetric

from hokusai_core import Metric, RunHandle
from hokusai_core.operations import LogBatch, MetricPoint, dump_operation
from tests.benchmarks.harness import (
    Bench,
    Figure,
    benchmark,
    in_pairs,
    in_turns,
    median,
    median_of_differences,
    micro,
    milli,
    percentile,
    timed,
)
from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_port

_MOST_MORE = 0.15e-3
_STAYS_OPEN = {"circuit_open_seconds": 1e6, "circuit_open_max_seconds": 1e6, "auto_sync": False}
PAYLOAD = dump_operation(
    LogBatch(
        run_id="0" * 32, metrics=(MetricPoint(key="loss", value=0.5, timestamp=1_700_000_000_000),)
    )
)
"""What one metric is in the journal."""


@benchmark("healthy-metric")
def healthy_metric(bench: Bench) -> list[Figure]:
    with FaultProxy(int(bench.mlflow_url.rsplit(":", 1)[1])) as proxy:
        client = MlflowClient(proxy.url)
        run = bench.manager(proxy.url).start_run()
        run_id = client.create_run("0").info.run_id
        requests = {}
        for name, call in (
            ("mlflow", lambda: client.log_metric(run_id, "loss", 0.5)),
            ("hokusai", lambda: run.log_metric("loss", 0.5)),
        ):
            before = len(proxy.requests)
            for _ in range(10):
                call()
            requests[name] = len(proxy.requests) - before
        run.end()
    client = MlflowClient(bench.mlflow_url)
    run = bench.manager(bench.mlflow_url).start_run()
    pairs = in_pairs(
        lambda step: client.log_metric(run_id, "loss", 0.5, step=step),
        lambda step: run.log_metric("loss", 0.5, step=step),
        rounds=bench.count(1000, least=20),
    )
    more, least, most = median_of_differences(pairs)
    theirs, own = (median(sorted(one)) for one in zip(*pairs, strict=True))
    counted = f"{requests['hokusai']} and {requests['mlflow']} requests for 10"
    return [
        Figure(
            "`log_metric`, server well",
            f"{milli(own)}; in pairs {more * 1e3:+.2f} ms "
            f"({least * 1e3:+.2f} to {most * 1e3:+.2f} with 95 %)",
            f"MLflow client {milli(theirs)}, {counted}",
            "at most 0.15 ms more, as many requests",
            more <= _MOST_MORE and requests["hokusai"] == requests["mlflow"],
        )
    ]


@benchmark("healthy-batch")
def healthy_batch(bench: Bench) -> list[Figure]:
    client = MlflowClient(bench.mlflow_url)
    run = bench.manager(bench.mlflow_url).start_run()
    run_id = client.create_run("0").info.run_id

    def theirs(step: int) -> None:
        points = [MlflowMetric(f"m{n}", n / 7, 1_700_000_000_000 + n, step) for n in range(1000)]
        client.log_batch(run_id, points)

    def ours(step: int) -> None:
        points = [
            Metric(key=f"m{n}", value=n / 7, timestamp=1_700_000_000_000 + n, step=step)
            for n in range(1000)
        ]
        run.log_batch(points)

    def as_mapping(step: int) -> None:
        run.log_metrics({f"m{n}": n / 7 for n in range(1000)}, step=step)

    times = in_turns(
        {"mlflow": theirs, "hokusai": ours, "mapping": as_mapping},
        rounds=bench.count(25, least=3),
    )
    figures = [_beside("`log_batch` of 1000 metrics, server well", times)]
    times["hokusai"] = times["mapping"]
    figures.append(_beside("`log_metrics` of 1000, server well", times))
    return figures


def _beside(what: str, times: dict[str, list[float]]) -> Figure:
    ours, theirs = median(times["hokusai"]), median(times["mlflow"])
    return Figure(
        what,
        f"{milli(ours)} ({(ours - theirs) * 1e3:+.2f} ms)",
        f"MLflow client {milli(theirs)}",
        "at most 0.15 ms more, as many requests",
        ours - theirs <= _MOST_MORE,
    )


def bare_sqlite(path: Path, *, synced: bool) -> sqlite3.Connection:
    """Open what a journal of one plain table would be."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
    connection.execute("CREATE TABLE bare (number INTEGER PRIMARY KEY, payload TEXT)")
    return connection


def _run_in_outage(bench: Bench, **settings: object) -> RunHandle:
    manager = bench.manager(f"http://127.0.0.1:{free_port()}", **_STAYS_OPEN | settings)
    run = manager.start_run()
    run.log_metric("loss", 0.5)
    return run


@benchmark("outage-sqlite")
def outage_sqlite(bench: Bench) -> list[Figure]:
    figures = []
    for durability, rounds in (("machine", 15), ("process", 60)):
        run = _run_in_outage(bench, durability=durability)
        bare = bare_sqlite(bench.new_folder() / "bare.db", synced=durability == "machine")
        times = in_turns(
            {
                "bare": lambda _, bare=bare: bare.execute(
                    "INSERT INTO bare (payload) VALUES (?)", (PAYLOAD,)
                ),
                "hokusai": lambda step, run=run: run.log_metric("loss", 0.5, step=step),
            },
            rounds=bench.count(rounds, least=3),
            block=100,
        )
        bare.close()
        ours, theirs = median(times["hokusai"]), median(times["bare"])
        late = percentile(times["hokusai"], 0.99)
        what = f"`log_metric`, circuit open, SQLite, `{durability}`"
        beside = f"bare `sqlite3` insert and commit {micro(theirs)}"
        if durability == "machine":
            figures.append(
                Figure(
                    what,
                    f"{micro(ours)}, {ours / theirs:.2f} times",
                    beside,
                    "p50 at most 1.3 times the bare commit",
                    ours <= 1.3 * theirs,
                )
            )
        else:
            figures.append(
                Figure(
                    what,
                    f"p50 {micro(ours)}, p99 {micro(late)}",
                    beside,
                    "p50 at most 40 µs, p99 at most 1 ms",
                    ours <= 40e-6 and late <= 1e-3,
                )
            )
    return figures


@benchmark("outage-postgresql")
def outage_postgresql(bench: Bench) -> list[Figure]:
    url = bench.postgres.create_database()
    run = _run_in_outage(bench, database_url=url.render_as_string(hide_password=False))
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as bare:
        bare.execute("CREATE TABLE bare (number BIGSERIAL PRIMARY KEY, payload TEXT)")
        bare.commit()

        def insert(_: int) -> None:
            bare.execute("INSERT INTO bare (payload) VALUES (%s)", (PAYLOAD,))
            bare.commit()

        times = in_turns(
            {"bare": insert, "hokusai": lambda step: run.log_metric("loss", 0.5, step=step)},
            rounds=bench.count(20, least=3),
            block=50,
        )
    ours, theirs = median(times["hokusai"]), median(times["bare"])
    run._runtime.close_connections()
    return [
        Figure(
            "`log_metric`, circuit open, PostgreSQL",
            f"{micro(ours)}, {ours / theirs:.2f} times",
            f"bare psycopg insert and commit {micro(theirs)}",
            "p50 at most 1.5 times the bare commit",
            ours <= 1.5 * theirs,
        )
    ]


@benchmark("first-call")
def first_call(bench: Bench) -> list[Figure]:
    with FaultProxy(int(bench.mlflow_url.rsplit(":", 1)[1])) as proxy:
        run = bench.manager(proxy.url, auto_sync=False).start_run()
        run.log_metric("loss", 0.5)
        proxy.mode = "refuse"
        took = timed(lambda: run.log_metric("loss", 0.5))
    return [
        Figure(
            "first call of an outage (refused port)",
            milli(took),
            "MLflow client 247 s (not repeated here)",
            "at most 1.2 s",
            took <= 1.2,
        )
    ]


@benchmark("queued")
def queued(bench: Bench) -> list[Figure]:
    client = MlflowClient(bench.mlflow_url)
    run_id = client.create_run("0").info.run_id
    figures = []
    for durability, limit in (("process", 25e-6), ("relaxed", 5e-6)):
        run = bench.manager(bench.mlflow_url, delivery="queued", durability=durability).start_run()
        bare = bare_sqlite(bench.new_folder() / "bare.db", synced=False)
        pending = []
        times = in_turns(
            {
                "hokusai": lambda step, run=run: run.log_metric("loss", 0.5, step=step),
                "bare": lambda _, bare=bare: bare.execute(
                    "INSERT INTO bare (payload) VALUES (?)", (PAYLOAD,)
                ),
            },
            rounds=bench.count(60, least=3),
            block=200,
        )
        asynchronous = in_turns(
            {
                "mlflow": lambda step, pending=pending: pending.append(
                    client.log_metric(run_id, "loss", 0.5, step=step, synchronous=False)
                )
            },
            rounds=2,
            block=bench.count(250, least=20),
        )["mlflow"]
        for one in pending:
            one.wait()
        run.end()
        run.wait(120)
        bare.close()
        ours = median(times["hokusai"])
        figures.append(
            Figure(
                f"`log_metric`, queued, `{durability}`, delivered meanwhile",
                f"p50 {micro(ours)}, p99 {micro(percentile(times['hokusai'], 0.99))}",
                f"MLflow async (in memory) {micro(median(asynchronous))}; "
                f"bare `sqlite3` commit {micro(median(times['bare']))}",
                f"p50 at most {limit * 1e6:.0f} µs",
                ours <= limit,
            )
        )
    return figures
