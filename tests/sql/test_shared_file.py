"""A SQLite file that this process has open twice, beside other processes."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from hokusai_backend_sql.direct_sqlite import DirectSqlite
from hokusai_backend_sql.sqlite_file import prepare_file
from tests.support.sql_fixtures import OpenSql

COUNT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
print(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
connection.close()
"""


def count_tables(path: Path) -> int:
    """Let another process open the file, read, and be the last to leave as far as it can tell."""
    program = [sys.executable, "-c", COUNT, str(path)]
    found = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    return int(found.stdout)


def test_the_log_in_use_is_never_removed(tmp_path: Path) -> None:
    """Closing any descriptor of the file would drop SQLite's locks, and with them the log."""
    path = tmp_path / "shared.db"
    prepare_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE first (a)")
        prepare_file(path)
        log = path.with_name("shared.db-wal")
        before = log.stat().st_ino
        assert count_tables(path) == 1
        assert log.exists()
        assert log.stat().st_ino == before
        connection.execute("CREATE TABLE second (a)")
        assert count_tables(path) == 2


def test_a_second_opening_in_one_process_leaves_the_first_its_locks(
    open_sql: OpenSql, sqlite_url: str
) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    assert open_sql(sqlite_url).journal.journal_unsettled(("run/1",)) == 0
    log = path.with_name(f"{path.name}-wal")
    before = log.stat().st_ino
    assert open_sql(sqlite_url).journal.journal_unsettled(("run/1",)) == 0
    assert count_tables(path) > 0
    assert log.exists()
    assert log.stat().st_ino == before


def test_a_connection_that_is_closed_while_it_is_in_use_is_not_used_again(tmp_path: Path) -> None:
    """The file is replaced while one thread writes and another one notices it."""
    path = tmp_path / "replaced.db"
    direct = DirectSqlite(str(path), timeout=5, synced=False)
    direct.run("CREATE TABLE numbers (number INTEGER)", ())
    connection = direct._connection
    assert connection is not None

    def replaced() -> int:
        path.unlink()
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE numbers (number INTEGER)")
        noticing = threading.Thread(target=direct.close)
        noticing.start()
        noticing.join()
        return 1

    connection.create_function("replaced", 0, replaced)
    direct.run("SELECT replaced()", ())
    direct.run("INSERT INTO numbers VALUES (7)", ())
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT number FROM numbers").fetchall() == [(7,)]
    direct.close()
    assert direct._connection is None
