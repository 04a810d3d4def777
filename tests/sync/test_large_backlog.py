"""A large backlog: memory while it drains, and the work of one claim beside delivered rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from hokusai_backend_sql.engine import Database
from hokusai_core.backends import open_backend
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry, EntryQuery, Release, Settlement
from hokusai_core.operations import CreateExperiment, CreateRun, LogBatch, MetricPoint
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from tests.sql.queueing import append, claim, delivered, log_metric
from tests.support.mlflow_server import MlflowServer
from tests.sync.worker_process import Job, Workers
from tests.sync.workload import destination_settings, unique

FEW, MANY = 10, 5000
STREAMS, OPERATIONS = 1000, 100_000
MOST_GROWTH_BYTES = 60 * 1024 * 1024


@contextmanager
def statements_of_all_engines() -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that are run meanwhile, with their values."""
    seen: list[tuple[str, Any]] = []

    def note(_1: object, _2: object, statement: str, values: object, *_3: object) -> None:
        seen.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def deliver_in_other_streams(journal: Journal, count: int) -> None:
    """Leave delivered rows behind, and nothing that waits."""
    journal.journal_discard(tuple(each.op_id for each in journal.journal_read(EntryQuery())))
    for start in range(0, count, 1000):
        batches = [log_metric("delivered") for _ in range(start, min(start + 1000, count))]
        append(journal, *batches)
        claimed = claim(journal)
        journal.journal_settle(claimed, tuple(map(delivered, batches)))
        journal.journal_release(claimed, Release())


def statements_of_a_claim(journal: Journal) -> list[tuple[str, Any]]:
    """Claim and deliver one operation of 50 streams that wait; give what was run for it."""
    append(journal, *(log_metric(f"waiting {number}") for number in range(50)))
    with statements_of_all_engines() as seen:
        claimed = claim(journal)
        settlement = Settlement(op_id=claimed.operations[0].op_id, outcome="delivered")
        journal.journal_settle(claimed, (settlement,))
        journal.journal_release(claimed, Release())
    return seen


def test_a_claim_reads_no_delivered_rows(journal: Journal, database: Database) -> None:
    """It takes the same statements, and the database looks for waiting rows by an index."""
    deliver_in_other_streams(journal, FEW)
    few = statements_of_a_claim(journal)
    deliver_in_other_streams(journal, MANY)
    many = statements_of_a_claim(journal)
    assert [statement for statement, _ in few] == [statement for statement, _ in many]
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("ANALYZE"))
        plans = [
            " ".join(str(row) for row in connection.exec_driver_sql(explain + statement, values))
            for statement, values in many
            if statement.startswith(("SELECT", "UPDATE"))
        ]
    assert plans
    whole = "SCAN operations" if database.is_sqlite else "Seq Scan on operations"
    assert not [plan for plan in plans if whole in plan]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_large_backlog_drains_in_bounded_memory(
    mlflow_server: MlflowServer, database_url: str, workers: Workers, tmp_path: Path
) -> None:
    """100,000 operations of 1,000 runs, with four streams in flight.

    Measured: the process grows by 25 MiB with SQLite, by 17 MiB with PostgreSQL.
    """
    settings = destination_settings(tmp_path / "data", database_url)
    journal = open_backend(
        "sql", BackendConfig(settings=Settings.load(**settings), role="journal")
    ).journal
    _fill(journal, settings["destination"])
    worker = workers.start(Job(mlflow_server.url, settings | {"sync_threads": 4}, wait_seconds=60))
    outcome = worker.outcome(1500)
    assert (outcome.dead, outcome.left) == (0, 0), outcome.reasons
    assert outcome.delivered == OPERATIONS + 1
    print(f"grown by {outcome.grown_bytes / 1024**2:.0f} MiB")
    assert outcome.grown_bytes < MOST_GROWTH_BYTES
    journal.journal_close()


def _fill(journal: Journal, destination: str) -> None:
    experiment = CreateExperiment(name=unique("large"))
    identifier = experiment.provisional_id
    assert identifier
    journal.journal_append((Entry(operation=experiment, destination=destination),), None)
    for number in range(STREAMS):
        creation = CreateRun(experiment_id=identifier, run_name=f"run {number}", start_time=number)
        run_id = creation.provisional_id
        assert run_id
        batches = (
            LogBatch(run_id=run_id, metrics=(MetricPoint(key="m", value=n, timestamp=n, step=n),))
            for n in range(OPERATIONS // STREAMS - 1)
        )
        entries = (Entry(operation=each, destination=destination) for each in (creation, *batches))
        journal.journal_append(tuple(entries), None)
