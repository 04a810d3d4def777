"""Single statements on SQLite without SQLAlchemy, for the loop of a user who logs without pause."""

import sqlite3
import threading

from hokusai_backend_sql.errors import OtherThreadError, as_sqlalchemy


class DirectSqlite:
    """One kept connection to a SQLite file, used by one thread at a time.

    SQLite has one writer at a time anyway. The file is prepared by the caller.

    Args:
        path: The file.
        timeout: Seconds that the file's write lock, or this connection, may be waited for.
        synced: Whether a commit survives the loss of power.
    """

    def __init__(self, path: str, *, timeout: float, synced: bool) -> None:
        self._path = path
        self._timeout = timeout
        self._synchronous = "FULL" if synced else "NORMAL"
        self._lock = threading.RLock()
        self._in_use = False
        self._connection: sqlite3.Connection | None = None
        self._generation = self._opened_in = object()
        self._inherited: list[sqlite3.Connection] = []

    def run(self, statement: str, parameters: tuple[object, ...]) -> object:
        """Run a statement, commit it, and give the first value of its first row, or None.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: As the engine would.
        """
        try:
            # Inside the block: Ctrl-C may come when the lock is taken and nothing else is done.
            if not self._lock.acquire(timeout=self._timeout):
                raise OtherThreadError
            if self._in_use:
                return self._run_for_handler(statement, parameters)
            self._in_use = True
            try:
                return self._run(statement, parameters)
            finally:
                self._in_use = False
        finally:
            try:  # noqa: SIM105 - Ctrl-C may come in the call of suppress()
                self._lock.release()
            except RuntimeError:  # it was not taken
                pass

    def close(self) -> None:
        """Close the connection; one that is in use is closed by the next use, which opens one."""
        self._generation = object()
        if self._lock.acquire(blocking=False):
            try:
                if not self._in_use:
                    self._drop()
            finally:
                self._lock.release()

    def reset_after_fork(self) -> None:
        """In a forked child: forget the parent's connection without touching it."""
        if self._connection is not None:
            self._inherited.append(self._connection)
        self._connection = None
        self._in_use = False
        self._lock = threading.RLock()

    def _run(self, statement: str, parameters: tuple[object, ...]) -> object:
        try:
            if self._opened_in is not self._generation:
                # The file may have been replaced: what is written into the old one is lost.
                self._drop()
            connection = self._connection or self._connect()
            row = connection.execute(statement, parameters).fetchone()
        except sqlite3.Error as cause:
            self._drop()
            raise as_sqlalchemy(cause) from cause
        except BaseException:
            # Ctrl-C: a cursor in the traceback would keep SQLite's locks.
            self._drop()
            raise
        return row[0] if row else None

    def _run_for_handler(self, statement: str, parameters: tuple[object, ...]) -> object:
        """Run a statement for a signal handler, which must not see what its thread reads just now.

        A query that is not read to its end would show the file as it was, for as long as it is open.
        """
        interrupted, opened_in = self._connection, self._opened_in
        self._connection = None
        try:
            return self._run(statement, parameters)
        finally:
            self._drop()
            self._connection, self._opened_in = interrupted, opened_in

    def _connect(self) -> sqlite3.Connection:
        self._opened_in = self._generation
        connection = sqlite3.connect(
            self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        self._connection = connection
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
