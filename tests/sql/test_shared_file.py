"""A SQLite file that this process has open twice, beside other processes."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

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
