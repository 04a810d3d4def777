"""Figures of a backlog are cheap, whatever its size: run with ``pytest -m benchmark``."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from hokusai_backend_sql.engine import Database
from hokusai_core.backends import OpenBackend
from hokusai_core.journal import EntryQuery
from hokusai_core.settings import Settings
from tests.sql.queueing import HERE, log_metric
from tests.support.sql_fixtures import OpenSql

pytestmark = pytest.mark.benchmark

STREAMS, EACH = 2_000, 500
"""A million waiting operations; as many delivered ones besides."""
MOST_MILLISECONDS = 200.0


def fill(database: Database) -> None:
    """Write rows as appends and settlements would leave them, much faster."""
    prefix = "" if database.is_sqlite else "hokusai."
    numbers = (
        "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers "
        f"WHERE n < {STREAMS * EACH} - 1)"
    )
    identify = (
        "lower(hex(randomblob(16)))"
        if database.is_sqlite
        else "replace(gen_random_uuid()::text, '-', '')"
    )
    payload = log_metric("r").model_dump_json().replace(":", "\\:")
    false = "0" if database.is_sqlite else "FALSE"
    with database._engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        for state, settled in (("delivered", "1000"), ("waiting", "NULL")):
            connection.execute(
                text(
                    f"{numbers if database.is_sqlite else ''} INSERT INTO {prefix}operations "
                    "(op_id, kind, stream, destination, state, payload, late_effects_matter, "
                    "primary_id, maybe_applied, not_before, unmarked_not_before, appended_at, "
                    f"settled_at, error) SELECT {identify}, 'log_batch', "
                    f"'run/' || (n % {STREAMS}), :destination, '{state}', '{payload}', {false}, "
                    f"'', {false}, 1, 1, 1000, {settled}, '' FROM "
                    + (
                        "numbers"
                        if database.is_sqlite
                        else f"generate_series(0, {STREAMS * EACH} - 1) AS n"
                    )
                ),
                {"destination": HERE},
            )
        connection.execute(
            text(
                f"INSERT INTO {prefix}streams (stream, destination, waiting, ready_at, worker, "
                f"waiting_for, error) SELECT stream, destination, count(*), 1, '', '', '' FROM "
                f"{prefix}operations WHERE state = 'waiting' GROUP BY stream, destination"
            )
        )
    if not database.is_sqlite:
        with database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            plain.execute(text("SET statement_timeout = 0"))
            plain.execute(text("VACUUM ANALYZE hokusai.operations"))
            plain.execute(text("VACUUM ANALYZE hokusai.streams"))


@pytest.fixture
def full(
    open_sql: OpenSql, database_url: str, tmp_path: Path
) -> Iterator[tuple[OpenBackend, Database]]:
    database = Database(database_url, Settings.load(data_dir=tmp_path, journal_timeout=600))
    database.upgrade()
    fill(database)
    yield open_sql(database_url), database
    database.close()


def milliseconds(call: Callable[[], object]) -> float:
    """Time a call once, after a first one that opened connections and filled caches."""
    call()
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


@pytest.mark.timeout(900)
def test_figures_of_a_million_operations(full: tuple[OpenBackend, Database]) -> None:
    journal = full[0].journal
    backlog = journal.journal_backlog(HERE)
    assert backlog.waiting == STREAMS * EACH
    assert len(backlog.streams) == 100
    took = {
        "backlog": milliseconds(lambda: journal.journal_backlog(HERE)),
        "all destinations": milliseconds(lambda: journal.journal_backlog("")),
        "unsettled": milliseconds(lambda: journal.journal_unsettled(("run/7",))),
        "first waiting": milliseconds(
            lambda: journal.journal_read(EntryQuery(states=("waiting",), limit=100))
        ),
        "dead": milliseconds(lambda: journal.journal_read(EntryQuery(states=("dead",), limit=20))),
        "nothing to prune": milliseconds(lambda: journal.journal_prune(1e12)),
    }
    print({name: round(value, 1) for name, value in took.items()})
    assert {name: value for name, value in took.items() if value > MOST_MILLISECONDS} == {}
    assert journal.journal_prune(0.0) == 20_000
