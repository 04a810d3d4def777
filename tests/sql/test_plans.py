"""What the queue does all the time reads no table from one end to the other."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import streams
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Release
from hokusai_core.operations import CreateRun, FinalizeLoggedModel
from tests.sql.queueing import HERE, append, claim, create_run, dead, delivered, log_metric, request

EMPTY_STREAMS = 3000
Statements = list[tuple[str, Any]]


@contextmanager
def noted() -> Iterator[Statements]:
    """Collect the statements that are run meanwhile, with their values."""
    seen: Statements = []

    def note(_1: object, _2: object, statement: str, values: object, *_3: object) -> None:
        seen.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def statements(journal: Journal, database: Database) -> Statements:
    """What is run for a creation that two streams wait for, beside many streams that are empty."""
    journal.journal_backlog("")
    with database.begin() as connection:
        rows = [
            {"stream": f"run/{number}", "destination": HERE, "ready_at": 0.0}
            for number in range(EMPTY_STREAMS)
        ]
        connection.execute(insert(streams), rows)
        connection.execute(text("ANALYZE"))
    with noted() as seen:
        run = create_run()
        made = run.provisional_id or ""
        child = CreateRun(
            experiment_id="0", run_name="child", start_time=1, tags={"mlflow.parentRunId": made}
        )
        append(journal, run, FinalizeLoggedModel(run_id=made, model_id="m-1"), child)
        creation = claim(journal)
        assert journal.journal_claim(request()) == ()
        journal.journal_settle(creation, (dead(run),))
        journal.journal_release(creation, Release())
        assert journal.journal_retry((run.op_id,)) == 1
        creation = claim(journal)
        journal.journal_settle(creation, (delivered(run, "r1"),))
        journal.journal_release(creation, Release())
        append(journal, metric := log_metric("a"))
        assert journal.journal_discard((metric.op_id,)) == 1
        journal.journal_backlog("")
    return seen


def test_no_statement_reads_all_streams(database: Database, statements: Statements) -> None:
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    whole = "Seq Scan on streams"
    with database.begin() as connection:
        for statement, values in statements:
            if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
                continue
            one = values[0] if isinstance(values, list) else values
            plan = [str(row) for row in connection.exec_driver_sql(explain + statement, one)]
            if database.is_sqlite:
                read = [row for row in plan if "SCAN streams" in row and "_index" not in row]
            else:
                read = [row for row in plan if whole in row]
            assert not read, statement


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_plan_that_is_kept_reads_all_streams(database: Database, statements: Statements) -> None:
    """PostgreSQL plans a statement without its values, after it was run some times."""
    with database.begin() as connection:
        if (connection.dialect.server_version_info or (0,)) < (16,):
            pytest.skip("this PostgreSQL does not explain such plans")
        for statement in {statement for statement, _ in statements}:
            if statement.startswith(("SELECT", "UPDATE")) and ".streams" in statement:
                numbered = _numbered(statement)
                plan = connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {numbered}")
                read = [row for row in map(str, plan) if "Seq Scan on streams" in row]
                assert not read, statement


def _numbered(statement: str) -> str:
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${numbers.setdefault(found[1], len(numbers) + 1)}"

    return re.sub(r"%\((\w+)\)s", number, statement)
