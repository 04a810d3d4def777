"""A fork while SQLite is in use: the child can write at once, whatever the parent's threads do."""

import contextlib
import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from hokusai_backend_sql.engine import Database
from hokusai_core.settings import Settings

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*use of fork.*:DeprecationWarning"  # of Python 3.12 and later
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path / 'journal.db'}", Settings.load(journal_timeout=20))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
    return made


def write(database: Database, number: int) -> None:
    with database.begin() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})


def open_files() -> list[str]:
    """Give what this process has open, where the system tells."""
    found = []
    for number in range(256):
        with contextlib.suppress(OSError):
            found.append(str(Path(f"/proc/self/fd/{number}").readlink()))
    return found


def fork_and_write(database: Database, number: int) -> int:
    """Write in a forked child; give its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if not any("journal.db" in name for name in open_files()):
                write(database, number)
                code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def numbers(database: Database) -> list[int]:
    with database.connect() as connection:
        return sorted(connection.execute(text("SELECT number FROM numbers")).scalars())


def test_a_child_inherits_no_connection(database: Database) -> None:
    assert fork_and_write(database, 1) == 0
    write(database, 2)
    assert numbers(database) == [1, 2]
    database.close()


def test_a_fork_waits_for_the_writes_of_other_threads(database: Database) -> None:
    """Else the child would inherit the write lock, and nobody in it would ever let it go."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with database.begin() as connection:
            connection.execute(text("INSERT INTO numbers VALUES (1)"))
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    timer = threading.Timer(0.2, leave.set)
    thread.start()
    assert inside.wait(20)
    timer.start()
    try:
        assert fork_and_write(database, 2) == 0
        assert leave.is_set()
    finally:
        leave.set()
        thread.join()
        timer.join()
    assert numbers(database) == [1, 2]
    database.close()


def test_a_thread_may_fork_inside_its_own_transaction(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(text("SELECT * FROM numbers"))
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    write(database, 1)
    assert numbers(database) == [1]
    database.close()


def test_a_fork_goes_on_where_a_transaction_does_not_end(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}", Settings.load(journal_timeout=0.2))
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with database.connect():
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(20)
    try:
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        leave.set()
        thread.join()
    database.close()
