"""An older schema with a backlog is upgraded without loss, once, whoever comes first."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hokusai_backend_sql import upgrade
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.schema import SCHEMA_REVISION
from hokusai_backend_sql.sqlite_file import use_write_ahead_log
from hokusai_core.errors import JournalUnavailableError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import EntryQuery, Release
from hokusai_core.settings import Settings
from tests.sql.older_schema import EACH, FIRST, STREAMS, fill_backlog, make_first_schema
from tests.sql.queueing import append, claim, delivered, log_metric, op_ids, states
from tests.support import session
from tests.support.sql_fixtures import OpenSql

PROCESSES = 3


@pytest.fixture
def older(empty_database_url: str, tmp_path: Path) -> Iterator[Database]:
    """A database of revision 0001."""
    database = Database(empty_database_url, Settings.load(data_dir=tmp_path))
    if database.is_sqlite:
        Path(database.place).parent.mkdir()
        use_write_ahead_log(database._engine)
    make_first_schema(database)
    yield database
    database.close()


def revision(database: Database) -> str:
    with database._engine.connect() as connection:
        return upgrade.schema_revision(connection)


def deliver_all(journal: Journal) -> dict[str, list[str]]:
    """Deliver the whole backlog; give what was handed out by stream, in order."""
    done: dict[str, list[str]] = {}
    for _ in range(STREAMS):
        claimed = claim(journal)
        done[claimed.stream] = op_ids(claimed)
        known = [entry.operation for entry in claimed.operations if entry.operation]
        journal.journal_settle(claimed, tuple(map(delivered, known)))
        journal.journal_release(claimed, Release())
    return done


def test_the_older_schema_is_older(older: Database) -> None:
    assert revision(older) == FIRST != SCHEMA_REVISION


def test_a_backlog_survives_the_upgrade(
    older: Database, open_sql: OpenSql, empty_database_url: str
) -> None:
    """SQLite upgrades itself with the first use, PostgreSQL with the command only."""
    expected = fill_backlog(older)
    journal = open_sql(empty_database_url).journal
    if not older.is_sqlite:
        with pytest.raises(JournalUnavailableError, match="hokusai db upgrade"):
            append(journal, log_metric("late"))
        assert revision(older) == FIRST
        assert journal.journal_upgrade() == SCHEMA_REVISION
    assert journal.journal_backlog("").waiting == STREAMS * EACH
    assert deliver_all(journal) == expected
    assert set(states(journal).values()) == {"delivered"}
    assert revision(older) == SCHEMA_REVISION


def test_what_was_known_before_is_no_news_afterwards(
    older: Database, open_sql: OpenSql, empty_database_url: str
) -> None:
    expected = fill_backlog(older)
    journal = open_sql(empty_database_url).journal
    journal.journal_upgrade()
    entries = journal.journal_read(EntryQuery())
    assert [e.op_id for e in entries] == [each for ids in expected.values() for each in ids]
    assert append(journal, *(entry.operation for entry in entries if entry.operation)) == 0


def run_together(*arguments: str) -> list[str]:
    """Run a program in several processes at once; all have to succeed."""
    with ExitStack() as running:
        processes = [
            running.enter_context(session.Program("-m", "tests.sql.process", *arguments))
            for _ in range(PROCESSES)
        ]
        printed = []
        for process in processes:
            output, errors = process.communicate(timeout=90)
            assert process.returncode == 0, errors
            printed.append(output.strip())
        return printed


def test_processes_that_start_at_once_upgrade_once(
    older: Database, open_sql: OpenSql, empty_database_url: str, tmp_path: Path
) -> None:
    """Twice would fail: the column would be there already. Nobody sees half of an upgrade."""
    expected = fill_backlog(older)
    older.close()
    action = "create" if older.is_sqlite else "upgrade"
    told = str(STREAMS * EACH) if older.is_sqlite else SCHEMA_REVISION
    assert run_together(action, empty_database_url, str(tmp_path)) == [told] * PROCESSES
    assert deliver_all(open_sql(empty_database_url).journal) == expected


@pytest.mark.parametrize("breaks", ["create_index", "add_column"])
def test_an_upgrade_that_fails_changes_nothing(
    older: Database,
    open_sql: OpenSql,
    empty_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    breaks: str,
) -> None:
    from alembic.operations import Operations

    expected = fill_backlog(older)
    journal = open_sql(empty_database_url).journal
    broken: Callable[..., None] = _interrupt
    with monkeypatch.context() as patched:
        patched.setattr(Operations, breaks, broken)
        with pytest.raises(RuntimeError, match="interrupted"):
            journal.journal_upgrade()
    assert revision(older) == FIRST
    assert journal.journal_upgrade() == SCHEMA_REVISION
    assert deliver_all(journal) == expected


def _interrupt(*_arguments: object, **_keywords: object) -> None:
    raise RuntimeError("interrupted")
