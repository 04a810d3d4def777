"""The table where single entries of a SQLite journal go first."""

from typing import Any

import pytest

from hokusai_backend_sql import intake
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal import SqlJournal
from hokusai_core.journal import Entry, EntryQuery
from tests.sql.queueing import HERE, log_metric

MOST_LOOKS = 20


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def log(journal: SqlJournal, count: int) -> None:
    for _ in range(count):
        entry = Entry(operation=log_metric("abc"), destination=HERE, fresh=True)
        journal.journal_append((entry,), None)


def test_a_reader_does_not_wait_for_a_writer_that_is_faster(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqlJournal(database)
    log(journal, 1)
    looks = 0
    run_alone = Database.run_alone

    def as_the_writer_goes_on(self: Database, statement: str, *values: Any) -> object:
        nonlocal looks
        if statement == intake.FIRST:
            looks += 1
            assert looks < MOST_LOOKS, "the reader never gets to what it asks"
            log(journal, intake.MOVED_AT_ONCE + 1)
        return run_alone(self, statement, *values)

    monkeypatch.setattr(Database, "run_alone", as_the_writer_goes_on)
    assert journal.journal_read(EntryQuery())
