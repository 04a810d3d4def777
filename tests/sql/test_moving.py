"""A move and what others do at the same time, on PostgreSQL; SQLite has one writer at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import text

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.entries import append as append_entries
from hokusai_core.journal import Entry
from hokusai_core.settings import Settings
from tests.sql.queueing import HERE, append, log_metric
from tests.support.sql_fixtures import OpenSql
from tests.support.waiting import wait_for

THERE = "http://there"


def waits_for_a_lock(database: Database) -> bool:
    with database.connect() as connection:
        return bool(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND wait_event_type = 'Lock'"
                )
            )
        )


def test_a_move_waits_for_appends_that_are_under_way(
    open_sql: OpenSql, postgres_url: str, tmp_path: Path
) -> None:
    """Without that, a stream could go and its operations stay, or the other way round."""
    journal = open_sql(postgres_url, journal_timeout=30).journal
    append(journal, log_metric("before"))
    settings = Settings.load(data_dir=tmp_path, journal_timeout=30)
    database, watcher = Database(postgres_url, settings), Database(postgres_url, settings)
    entry = Entry(operation=log_metric("under way"), destination=HERE)
    try:
        with ThreadPoolExecutor(1) as executor:
            with database.begin() as connection:
                append_entries(connection, [entry], None, None)
                moving = executor.submit(journal.journal_move, HERE, THERE)
                assert wait_for(lambda: moving.done() or waits_for_a_lock(watcher))
                assert not moving.done()
            assert moving.result(timeout=30) == 2
    finally:
        database.close()
        watcher.close()
    assert journal.journal_backlog("").by_destination == {THERE: 2}


def test_a_move_may_take_longer_than_a_statement_of_a_job(
    open_sql: OpenSql, postgres_url: str, tmp_path: Path
) -> None:
    """Its time limits are lifted, and those of the connection are back afterwards."""
    journal = open_sql(postgres_url, journal_timeout=0.2).journal
    append(journal, log_metric("before"))
    blocker = Database(postgres_url, Settings.load(data_dir=tmp_path, journal_timeout=30))
    try:
        with ThreadPoolExecutor(1) as executor:
            with blocker.begin() as connection:
                connection.execute(text("LOCK TABLE hokusai.streams IN SHARE MODE"))
                began = connection.scalar(text("SELECT clock_timestamp()"))
                moving = executor.submit(journal.journal_move, HERE, THERE)
                assert wait_for(
                    lambda: (
                        moving.done()
                        or connection.scalar(
                            text("SELECT clock_timestamp() - :began > interval '1.5 seconds'"),
                            {"began": began},
                        )
                    )
                )
                assert not moving.done()
            assert moving.result(timeout=30) == 1
    finally:
        blocker.close()
