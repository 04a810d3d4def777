"""SQLite files that several processes share: WAL, private to the user, never on a network drive."""

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from hokusai_backend_sql.errors import as_sqlalchemy
from hokusai_backend_sql.file_systems import file_system_of, is_network_file_system
from hokusai_backend_sql.time_limits import remaining
from hokusai_core.errors import ConfigurationError

SYNCED = "hokusai_synced"
"""Execution option: whether the transaction's commit survives the loss of power."""
WRITES = "hokusai_writes"
"""Execution option: whether the transaction takes the write lock at its beginning."""


def prepare_file(path: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """Make the folder (mode 0700) and the empty file (mode 0600) where they do not exist.

    Args:
        path: Absolute path of the database file.
        mounts: The system's table of mounts.

    Raises:
        ConfigurationError: The folder is on a network file system, whose locks cannot be trusted.
        OSError: The folder or file cannot be made.

    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = file_system_of(path.parent.resolve(), mounts)
    if is_network_file_system(kind):
        raise ConfigurationError(
            f"The SQLite file {path} is on a network file system ({kind}), where its locks do not "
            "hold. Set HOKUSAI_DATA_DIR to a local folder, or HOKUSAI_DATABASE_URL to a PostgreSQL "
            "database."
        )
    # A file that exists is not opened here: to close it again would drop every lock that SQLite holds
    # on it for this process, and the next process to leave would remove the log that is in use.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def use_write_ahead_log(engine: Engine) -> None:
    """Put the file into WAL mode, where readers and the writer do not wait for each other.

    The mode stays with the file.

    Raises:
        sqlalchemy.exc.DBAPIError: Another process holds the file in another mode, or it is no
            database.

    """
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as cause:
        # It goes past SQLAlchemy's transactions, within which the mode cannot be changed.
        raise as_sqlalchemy(cause) from cause
    finally:
        connection.close()


def create_sqlite_engine(url: URL, *, timeout: float) -> Engine:
    """Make an engine on a SQLite file; connects later, when used.

    Args:
        url: The file, with the driver pysqlite.
        timeout: Seconds that the write lock or a free connection may be waited for.

    """
    engine = create_engine(
        url,
        pool_size=4,
        max_overflow=4,
        pool_timeout=timeout,
        hide_parameters=True,
        connect_args={"timeout": timeout, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver thinks
        connection.create_function("hokusai_now", 0, time.time)
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "invalidate")
    def roll_back(connection: Any, _record: Any, _cause: BaseException | None) -> None:
        # At Ctrl-C the connection is closed, but SQLite keeps its locks while the traceback still
        # holds a cursor.
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        level = "FULL" if options.get(SYNCED, True) else "NORMAL"
        if options.get(WRITES, True):
            if connection.info.get("synchronous") != level:
                connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
                connection.info["synchronous"] = level
            milliseconds = max(1, int(remaining(timeout) * 1000))
            if connection.info.get("busy_timeout") != milliseconds:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {milliseconds}")
                connection.info["busy_timeout"] = milliseconds
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")

    return engine
