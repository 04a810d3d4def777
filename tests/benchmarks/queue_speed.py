"""The queue itself, without a server: claims, settlements, figures, and memory."""

import json
import subprocess
import sys
import time

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal import SqlJournal
from hokusai_core import Settings
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import ClaimRequest, Entry, Release, Settlement
from hokusai_core.operations import LogBatch, MetricPoint
from tests.benchmarks.backlog import DESTINATION, fill
from tests.benchmarks.harness import Bench, Figure, benchmark, median, timed

_EACH = 1000
"""Operations of one stream: as many as one claim hands out."""


@benchmark("claim-settle")
def claim_settle(bench: Bench) -> list[Figure]:
    url = bench.postgres.create_database()
    database = Database(url, Settings.load(data_dir=bench.new_folder(), journal_timeout=600))
    database.upgrade()
    journal = SqlJournal(database)
    count = bench.count(20_000, least=5_000)
    _rate(journal, count)
    empty = max(_rate(journal, count) for _ in range(3))
    fill(database, waiting=0, delivered=bench.count(1_000_000, least=100_000))
    with bench.postgres._connect(url) as connection:
        # Else autovacuum would do so meanwhile, as no table gets a million rows at once otherwise.
        connection.execute("VACUUM ANALYZE")
    _rate(journal, count)
    full = max(_rate(journal, count) for _ in range(3))
    database.close()
    bench.postgres.drop_database(url)
    return [
        Figure(
            "claim and settle on PostgreSQL, one worker",
            f"{empty:,.0f} operations/s; with a million delivered rows {full:,.0f}",
            "pgqueuer (published) 8,350 jobs/s",
            "at least 10,000 operations/s, flat",
            empty >= 10_000 and full >= 0.8 * empty,
        )
    ]


def _rate(journal: Journal, count: int) -> float:
    entries = tuple(
        Entry(
            operation=LogBatch(
                run_id=f"run{number // _EACH}",
                metrics=(MetricPoint(key="loss", value=0.5, timestamp=number),),
            ),
            destination=DESTINATION,
        )
        for number in range(count)
    )
    for start in range(0, count, 2000):
        journal.journal_append(entries[start : start + 2000], None)
    request = ClaimRequest(destination=DESTINATION, worker="benchmark")
    done = 0
    began = time.perf_counter()
    while claims := journal.journal_claim(request):
        claim = claims[0]
        journal.journal_settle(
            claim,
            tuple(Settlement(op_id=entry.op_id, outcome="delivered") for entry in claim.operations),
        )
        journal.journal_release(claim, Release())
        done += len(claim.operations)
    took = time.perf_counter() - began
    assert done == count
    return done / took


@benchmark("backlog")
def backlog(bench: Bench) -> list[Figure]:
    count = bench.count(1_000_000, least=50_000)
    figures = []
    urls = {
        "SQLite": f"sqlite:///{bench.new_folder() / 'hokusai.db'}",
        "PostgreSQL": bench.postgres.create_database().render_as_string(hide_password=False),
    }
    for name, url in urls.items():
        settings = Settings.load(data_dir=bench.new_folder(), journal_timeout=600)
        database = Database(url, settings)
        database.upgrade()
        fill(database, waiting=count, delivered=count)
        journal = SqlJournal(database)
        took = median(
            sorted(timed(lambda journal=journal: journal.journal_backlog("")) for _ in range(5))
        )
        database.close()
        figures.append(
            Figure(
                f"figures of `hokusai status`, {count:,} waiting rows, {name}",
                f"{took * 1e3:.0f} ms",
                "",
                "at most 200 ms",
                took <= 0.2,
            )
        )
    return figures


_MEMORY = """
import gc, json, sys, threading
from pathlib import Path
from hokusai_core import ExperimentManager, Settings
from hokusai_core.entities import Receipt
from hokusai_core.testing import MockBackend

folder, batches = Path(sys.argv[1]), int(sys.argv[2])
mock = MockBackend()
settings = Settings.load(data_dir=folder, fallback="sql", delivery="queued", durability="process",
    auto_sync=False, exit_timeout=0)
manager = ExperimentManager("memory", backend=mock, settings=settings)
run = manager.start_run()
for step in range(batches):
    run.log_metrics({f"m{one}": step / 7 for one in range(1000)}, step=step)
backend = manager.runtime.primary.get()
taken = 0
plain = backend.write

def write(operation, deadline, open_content=None):
    global taken
    if operation.kind == "log_batch":
        taken += len(operation.metrics)
        return Receipt()
    return plain(operation, deadline, open_content)

backend.write = write
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

gc.collect()
# Not getrusage: what it tells begins with the memory of the process that started this one.
Path("/proc/self/clear_refs").write_text("5")
before = peak()
report = manager.runtime.drain().run(wait_seconds=5, stop=threading.Event())
print(json.dumps({"taken": taken, "more": peak() - before, "complete": report.complete}))
"""


@benchmark("memory")
def memory(bench: Bench) -> list[Figure]:
    batches = bench.count(1_000, least=100)
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(bench.new_folder()), str(batches)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["complete"]
    assert told["taken"] == batches * 1000
    more = told["more"] / 2**20
    return [
        Figure(
            f"memory while {batches * 1000:,} queued metrics are drained",
            f"{more:.0f} MiB above the start",
            "",
            "at most 150 MiB",
            more <= 150,
        )
    ]
