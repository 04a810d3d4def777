"""A database that is away, cut off, frozen, full or locked: the error, its bounds, the recovery."""

import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.errors import translate
from hokusai_core.errors import (
    AuthenticationError,
    ConfigurationError,
    HokusaiError,
    JournalUnavailableError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry, EntryQuery, Release
from hokusai_core.settings import Settings
from tests.sql.queueing import append, claim, delivered, log_metric, request
from tests.support.postgres import PostgresServer
from tests.support.relay import relay_to
from tests.support.sql_fixtures import OpenSql
from tests.support.tcp_gate import TcpGate

SECRET = "hush-hush"


def every_hook(journal: Journal) -> list[Callable[[], object]]:
    """All hooks that reach for the database."""
    metric = log_metric("a")
    return [
        lambda: append(journal, metric),
        lambda: journal.journal_note(metric, "x", ""),
        lambda: journal.journal_claim(request()),
        lambda: journal.journal_unsettled(("run/a",)),
        lambda: journal.journal_resolve(("a",)),
        lambda: journal.journal_aliases(("a",)),
        lambda: journal.journal_read(EntryQuery()),
        lambda: journal.journal_open_content("a"),
        lambda: journal.journal_backlog(""),
        lambda: journal.journal_retry(("a",)),
        lambda: journal.journal_discard(("a",)),
        lambda: journal.journal_prune(1),
        journal.journal_upgrade,
    ]


def test_a_refused_port_is_unavailable_at_every_hook(open_sql: OpenSql) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    journal = open_sql(f"postgresql://someone:{SECRET}@127.0.0.1:{port}/nothing").journal
    started = time.monotonic()
    for hook in every_hook(journal):
        with pytest.raises(JournalUnavailableError) as caught:
            hook()
        assert not caught.value.maybe_applied
        assert SECRET not in str(caught.value)
        assert "someone" not in str(caught.value)
        assert str(port) in str(caught.value)
    assert time.monotonic() - started < 10


def test_a_server_that_accepts_and_says_nothing_is_given_up(open_sql: OpenSql) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        journal = open_sql(f"postgresql://u@127.0.0.1:{port}/d", journal_timeout=1).journal
        started = time.monotonic()
        with pytest.raises(JournalUnavailableError):
            journal.journal_read(EntryQuery())
        assert time.monotonic() - started < 10


def test_a_server_that_freezes_is_given_up_and_taken_up_again(
    postgres_database: URL, open_sql: OpenSql
) -> None:
    with relay_to(postgres_database) as relay:
        url = relay.url.render_as_string(hide_password=False)
        journal = open_sql(url, journal_timeout=0.5).journal
        append(journal, log_metric("a"))
        relay.freeze()
        started = time.monotonic()
        with pytest.raises(JournalUnavailableError):
            append(journal, log_metric("a", 2))
        assert time.monotonic() - started < 10
        relay.thaw()
        append(journal, log_metric("a", 3))
        assert journal.journal_unsettled(("run/a",)) in (2, 3)
        journal.journal_close()


def test_idle_connections_that_were_cut_are_replaced_unnoticed(
    postgres_database: URL, postgres_url: str, postgres_server: PostgresServer, open_sql: OpenSql
) -> None:
    journal = open_sql(postgres_url).journal
    append(journal, metric := log_metric("a"))
    claimed = claim(journal)
    assert postgres_server.terminate_connections(postgres_database) >= 1
    assert journal.journal_settle(claimed, (delivered(metric),)) == 1
    assert postgres_server.terminate_connections(postgres_database) >= 1
    assert journal.journal_release(claimed, Release())


def test_a_connection_cut_in_use_is_an_error_and_the_next_call_works(
    postgres_database: URL, postgres_url: str, postgres_server: PostgresServer
) -> None:
    database = Database(postgres_url, Settings.load())

    def cut_inside() -> None:
        with database.begin() as connection:
            connection.execute(text("SELECT 1"))
            postgres_server.terminate_connections(postgres_database)
            connection.execute(text("SELECT 1"))

    with pytest.raises(JournalUnavailableError) as caught:
        cut_inside()
    assert not caught.value.maybe_applied

    def cut_at_commit() -> None:
        with database.begin() as connection:
            connection.execute(text("SELECT 1"))
            postgres_server.terminate_connections(postgres_database)

    with pytest.raises(JournalUnavailableError) as caught:
        cut_at_commit()
    assert caught.value.maybe_applied
    with database.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    database.close()


def test_a_lock_is_waited_for_within_bounds(database_url: str, tmp_path: Path) -> None:
    holder = Database(database_url, Settings.load(data_dir=tmp_path))
    waiter = Database(database_url, Settings.load(data_dir=tmp_path, journal_timeout=0.2))
    statement = (
        text("SELECT 1")
        if holder.is_sqlite
        else text("LOCK TABLE hokusai.streams IN ACCESS EXCLUSIVE MODE")
    )

    def wait() -> None:
        with waiter.begin() as connection:
            connection.execute(statement)

    started = time.monotonic()
    with holder.begin() as connection:
        connection.execute(statement)
        with pytest.raises(JournalUnavailableError):
            wait()
    assert time.monotonic() - started < 10
    wait()
    holder.close()
    waiter.close()


def test_an_exhausted_pool_is_unavailable(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url, Settings.load(data_dir=tmp_path, journal_timeout=0.2))

    def nest(depth: int) -> None:
        with database.connect() as connection:
            connection.execute(text("SELECT 1"))
            if depth:
                nest(depth - 1)

    nest(7)
    with pytest.raises(JournalUnavailableError, match="pool"):
        nest(8)
    database.close()


def test_the_callers_own_errors_pass_and_roll_back(database: Database) -> None:
    def fail() -> None:
        with database.begin() as connection:
            connection.execute(text("SELECT 1"))
            raise NotFoundError("mine")

    with pytest.raises(NotFoundError, match="mine"):
        fail()


def test_a_file_that_cannot_be_made_is_unavailable(open_sql: OpenSql, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    journal = open_sql(f"sqlite:///{tmp_path}/file/hokusai.db").journal
    with pytest.raises(JournalUnavailableError, match="HOKUSAI_DATA_DIR"):
        journal.journal_read(EntryQuery())


def test_a_file_that_is_no_database_is_unavailable(open_sql: OpenSql, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database " * 100)
    journal = open_sql(f"sqlite:///{tmp_path}/text.db").journal
    with pytest.raises(JournalUnavailableError):
        append(journal, log_metric("a"))


def test_sqlite_files_are_private(open_sql: OpenSql, sqlite_url: str, tmp_path: Path) -> None:
    append(open_sql(sqlite_url).journal, log_metric("a"))
    folder = tmp_path / "database"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert files["hokusai.db"] == 0o600
    assert all(mode & 0o077 == 0 for mode in files.values())


@pytest.mark.parametrize(
    ("durability", "append_level"), [("machine", 2), ("process", 1), ("relaxed", 1)]
)
def test_sqlite_syncs_as_the_durability_says(
    sqlite_url: str, tmp_path: Path, durability: str, append_level: int
) -> None:
    database = Database(sqlite_url, Settings.load(data_dir=tmp_path, durability=durability))
    for synced, level in ((False, append_level), (True, 2), (False, append_level)):
        with database.begin(synced=synced) as connection:
            assert connection.scalar(text("PRAGMA synchronous")) == level
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    database.close()


@pytest.mark.parametrize("role", ["journal", "spool"])
def test_every_database_error_of_a_journal_is_unavailable(role: str) -> None:
    cause = IntegrityError("INSERT ...", {"password": SECRET}, sqlite3.IntegrityError(SECRET))
    error = translate(cause, place="x", role=role, commit_under_way=True)  # type: ignore[arg-type]
    assert isinstance(error, JournalUnavailableError)
    assert error.maybe_applied
    assert SECRET not in str(error)


class StateError(Exception):
    """A driver's error with a SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"DETAIL: {SECRET}")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", UnavailableError),
        ("40P01", UnavailableError),
        ("53300", UnavailableError),
        ("55P03", UnavailableError),
        ("57014", UnavailableError),
        ("25006", UnavailableError),
        ("28P01", AuthenticationError),
        ("42501", PermissionDeniedError),
        ("23505", RejectedError),
        ("22021", RejectedError),
        ("42P01", RejectedError),
    ],
)
def test_a_primary_tells_what_may_work_later(state: str, expected: type[HokusaiError]) -> None:
    cause = DBAPIError("SELECT 1", {}, StateError(state))
    error = translate(cause, place="x", role="primary", commit_under_way=False)
    assert type(error) is expected
    assert state in str(error)


def test_a_primary_without_a_state_is_judged_by_type() -> None:
    locked = OperationalError("BEGIN", {}, sqlite3.OperationalError("database is locked"))
    error = translate(locked, place="x", role="primary", commit_under_way=True)
    assert isinstance(error, UnavailableError)
    assert error.maybe_applied
    broken = IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE"))
    error = translate(broken, place="x", role="primary", commit_under_way=False)
    assert isinstance(error, RejectedError)


def test_a_network_file_system_is_refused(
    open_sql: OpenSql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hokusai_backend_sql import file_systems, sqlite_file

    mounts = tmp_path / "mounts"
    share = str(tmp_path / "my share").replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {share} nfs4 rw 0 0\n")
    assert file_systems.file_system_of(tmp_path / "my share" / "deep", mounts) == "nfs4"
    assert file_systems.file_system_of(tmp_path / "other", mounts) == "ext4"
    assert file_systems.file_system_of(tmp_path, tmp_path / "missing") == ""
    with pytest.raises(ConfigurationError, match="nfs4"):
        sqlite_file.prepare_file(tmp_path / "my share" / "hokusai.db", mounts)


def test_a_database_file_that_was_deleted_is_made_anew(
    open_sql: OpenSql, sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = open_sql(sqlite_url).journal
    append(journal, log_metric("a"))
    assert caplog.records == []
    for path in (tmp_path / "database").iterdir():
        path.unlink()
    assert append(journal, log_metric("a", 2)) == 1
    assert (tmp_path / "database" / "hokusai.db").stat().st_mode & 0o777 == 0o600
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_was_not_sent_is_known_to_be_stored_nowhere(
    open_sql: OpenSql, postgres_database: URL
) -> None:
    """A kept connection that is dead, and a server that refuses a new one: nothing is in doubt."""
    host = postgres_database.host or str(postgres_database.query["host"])
    gate = TcpGate(host, postgres_database.port or 5432)
    try:
        url = postgres_database.set(host="127.0.0.1", port=gate.port, query={})
        journal = open_sql(url.render_as_string(hide_password=False)).journal
        metrics = [log_metric("a", n) for n in range(3)]

        def add(number: int) -> int:
            entry = Entry(operation=metrics[number], destination="here", fresh=True)
            return journal.journal_append((entry,), None)

        add(0)
        gate.shut()
        for hook in (lambda: add(1), lambda: journal.journal_read(EntryQuery())):
            with pytest.raises(JournalUnavailableError) as failed:
                hook()
            assert not failed.value.maybe_applied
        gate.open()
        add(2)
        found = [one.op_id for one in journal.journal_read(EntryQuery())]
        assert found == [metrics[0].op_id, metrics[2].op_id]
    finally:
        gate.close()


def test_a_thread_that_waits_for_another_is_known_to_have_stored_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}", Settings.load(journal_timeout=0.2))
    assert database.run_alone("SELECT 1") == 1
    assert database._direct_sqlite is not None
    with ThreadPoolExecutor(1) as thread, database._direct_sqlite._lock:
        waiting = thread.submit(database.run_alone, "SELECT 1")
        with pytest.raises(JournalUnavailableError, match="another thread") as failed:
            waiting.result()
    assert not failed.value.maybe_applied
    database.close()
