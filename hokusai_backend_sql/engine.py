"""A database and its transactions: connects late, keeps its schema, survives ``fork``."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import Pool

from hokusai_backend_sql import upgrade
from hokusai_backend_sql.direct_sqlite import DirectSqlite
from hokusai_backend_sql.errors import (
    NotConnectedError,
    SameThreadError,
    may_be_applied,
    sqlstate,
    translate,
)
from hokusai_backend_sql.sqlite_file import SYNCED, WRITES, create_sqlite_engine, prepare_file
from hokusai_backend_sql.time_limits import remaining
from hokusai_backend_sql.turns import Turns
from hokusai_core.errors import JournalUnavailableError, UnavailableError
from hokusai_core.fork_gate import ForkGate
from hokusai_core.plugins import Role
from hokusai_core.settings import Settings

if TYPE_CHECKING:
    from hokusai_backend_sql.direct_postgresql import DirectPostgresql

_log = logging.getLogger(__name__)


class Database:
    """One database, PostgreSQL or SQLite.

    Making one does no I/O. The first transaction connects, and creates the tables where there are
    none. Safe to use from several threads; a forked child gets connections of its own.

    Errors of the database leave :meth:`begin` and :meth:`connect` as
    :class:`~hokusai_core.errors.JournalUnavailableError` where the role is a journal's, and as the
    matching :class:`~hokusai_core.errors.BackendError` where it is ``primary``.

    Args:
        url: ``postgresql+psycopg://...`` or ``sqlite:///...``.
        settings: ``journal_timeout`` bounds every wait; ``durability`` is for SQLite.
        role: What the database serves as.

    """

    def __init__(self, url: URL | str, settings: Settings, role: Role = "journal") -> None:
        self.url = make_url(url)
        self.role: Role = role
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._settings = settings
        self._engine = self._create_engine()
        self._engines = {
            (writes, synced): self._engine.execution_options(**{WRITES: writes, SYNCED: synced})
            for writes in (False, True)
            for synced in (False, True)
        }
        self._direct_postgresql = None if self.is_sqlite else _direct_postgresql(self._engine)
        self._path = self.url.database or ""
        self._guard, self._writing = threading.RLock(), Turns()
        self._ready = False
        self._file: tuple[int, int] | None = None
        self._pid = os.getpid()
        self._inherited: list[Pool] = []
        self._direct_sqlite = (
            DirectSqlite(self.place, timeout=self._timeout, synced=settings.durability == "machine")
            if self.is_sqlite
            else None
        )
        self._gate = ForkGate(self._timeout, self._close_idle) if self.is_sqlite else None

    @property
    def place(self) -> str:
        """The database as it is named to people: a path, or an address without credentials."""
        if self.is_sqlite:
            return self.url.database or ""
        host = self.url.host or ",".join(self.url.normalized_query.get("host", ())) or "localhost"
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{host}{port}/{self.url.database or ''}"

    @contextmanager
    def begin(self, *, synced: bool = False) -> Iterator[Connection]:
        """Run a write transaction: committed at the end of the block, rolled back at an exception.

        On SQLite it holds the file's write lock from the beginning.

        Args:
            synced: On SQLite, let the commit survive the loss of power whatever the durability
                that is set.

        """
        synced = synced or self._settings.durability == "machine"
        with self._transaction(writes=True, synced=synced) as connection:
            yield connection

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Run a read transaction."""
        with self._transaction(writes=False, synced=True) as connection:
            yield connection

    def run_alone(self, statement: str, parameters: tuple[object, ...] = ()) -> object:
        """Run one statement on SQLite as a transaction of its own; gives its first value, or None.

        It goes past SQLAlchemy, on a connection that is kept: for what is called in tight loops.
        Errors are those of :meth:`begin`. A write is as durable as the settings say.
        """
        if self._direct_sqlite is None or self._gate is None:
            raise TypeError(f"{self.place} is no SQLite file.")
        self._reset_if_forked()
        threads = self._gate.enter()
        try:
            self._ensure_ready()
            if self._writing.is_own:
                raise SameThreadError
            return self._direct_sqlite.run(statement, parameters)
        except SQLAlchemyError as cause:
            self._ready = False
            raise self._translate(cause, commit_under_way=may_be_applied(cause)) from cause
        except UnicodeError as cause:
            raise self._translate(cause, commit_under_way=False) from cause
        finally:
            self._gate.leave(threads)

    def run_committed(self, statement: str, parameters: tuple[object, ...] = ()) -> object:
        """Run one statement on PostgreSQL and commit it in the same round trip; gives its value.

        Errors are those of :meth:`begin`.
        """
        self._reset_if_forked()
        self._ensure_ready()
        if self._direct_postgresql is None:
            raise TypeError(f"{self.place} is no PostgreSQL database.")
        try:
            return self._direct_postgresql.run(statement, parameters)
        except SQLAlchemyError as cause:
            self._ready = False
            unsent = isinstance(cause, PoolTimeoutError | NotConnectedError)
            lost = not sqlstate(cause) and not unsent
            raise self._translate(cause, commit_under_way=lost) from cause
        except UnicodeError as cause:
            raise self._translate(cause, commit_under_way=False) from cause

    def upgrade(self) -> str:
        """Bring the tables up to this release; returns the revision that they have now.

        Errors are those of :meth:`begin`. Tables of a newer release are one, and are left as they are.
        """
        self._reset_if_forked()
        with self._no_fork(), self._translated():
            self._prepare_file()
            self._file = self._file_now()
            with self._engines[False, False].connect() as connection:
                obstacle = upgrade.encoding_obstacle(connection)
            if obstacle:
                raise self._unavailable(f"{self.place} {obstacle}")
            revision = upgrade.upgrade_schema(self._engine, self._timeout)
        if obstacle := upgrade.revision_obstacle(revision):
            raise self._unavailable(f"{self.place} {obstacle}")
        self._ready = True
        return revision

    def reset_after_fork(self) -> bool:
        """Forget the parent's connections without touching them; says whether there was a pool.

        They are kept unused: closing one would end the parent's session on the server.
        """
        inherited = self._ready
        self._inherited.append(self._engine.pool)
        self._engine.dispose(close=False)
        for direct in (self._direct_sqlite, self._direct_postgresql):
            if direct:
                direct.reset_after_fork()
        self._guard, self._writing = threading.RLock(), Turns()
        self._pid = os.getpid()
        return inherited

    def close(self) -> bool:
        """Close the connections that are not in use. A later call opens new ones."""
        self._reset_if_forked()
        self._close_idle()
        return True

    def _close_idle(self) -> None:
        self._engine.dispose()
        for direct in (self._direct_sqlite, self._direct_postgresql):
            if direct:
                direct.close()

    @contextmanager
    def _transaction(self, *, writes: bool, synced: bool) -> Iterator[Connection]:
        self._reset_if_forked()
        if remaining(1.0) <= 0.0:
            raise self._unavailable(f"No time was left to ask the database {self.place}.")
        committing = False
        with self._no_fork():
            self._ensure_ready()
            try:
                with (
                    self._writers_turn() if writes and self.is_sqlite else nullcontext(),
                    self._engines[writes, synced].connect() as connection,
                    connection.begin(),
                ):
                    yield connection
                    committing = writes
            except SQLAlchemyError as cause:
                self._ready = False
                raise self._translate(cause, commit_under_way=committing) from cause
            except UnicodeError as cause:
                raise self._translate(cause, commit_under_way=False) from cause

    def _writers_turn(self) -> AbstractContextManager[None]:
        """Let threads of this process write one after another to a SQLite file.

        SQLite lets only one write, too, but who waits for its lock sleeps for ever longer times, and
        may find it taken each time.
        """
        return self._writing.turn(max(0.0, remaining(self._timeout)))

    def _no_fork(self) -> AbstractContextManager[None]:
        return self._gate.inside() if self._gate else nullcontext()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as cause:
            raise self._translate(cause, commit_under_way=False) from cause
        except OSError as cause:
            raise self._unavailable(
                f"{self.place} cannot be opened: {cause.strerror or type(cause).__name__}. Check "
                "the folder's permissions and free space, or set HOKUSAI_DATABASE_URL or "
                "HOKUSAI_DATA_DIR."
            ) from cause

    def _translate(
        self, cause: SQLAlchemyError | UnicodeError, *, commit_under_way: bool
    ) -> Exception:
        return translate(cause, place=self.place, role=self.role, commit_under_way=commit_under_way)

    def _unavailable(self, message: str) -> Exception:
        if self.role == "primary":
            return UnavailableError(message)
        return JournalUnavailableError(message)

    def _ensure_ready(self) -> None:
        if self._ready and self._file == self._file_now():
            return
        try:
            # Inside the block: Ctrl-C may come when the lock is taken and nothing else is done.
            if not self._guard.acquire(timeout=self._timeout):
                raise self._unavailable(
                    f"{self.place} is still being connected by another thread. Try again."
                )
            file = self._file_now()
            if self._file not in (None, file):
                _log.warning(
                    "The database file %s was removed or replaced while it was in use; what waited "
                    "in it is no longer seen. It is opened anew.",
                    self.place,
                )
                self._close_idle()
                self._ready = False
            if not self._ready:
                with self._translated():
                    self._prepare_file()
                    self._file = self._file_now()
                    obstacle = upgrade.ensure_schema(self._engine, self._timeout)
                if obstacle:
                    raise self._unavailable(f"{self.place} {obstacle}")
                self._ready = True
        finally:
            try:  # noqa: SIM105 - Ctrl-C may come in the call of suppress()
                self._guard.release()
            except RuntimeError:  # it was not taken
                pass

    def _prepare_file(self) -> None:
        if self.is_sqlite:
            prepare_file(Path(self.url.database or ""))

    def _file_now(self) -> tuple[int, int] | None:
        """Give what tells the SQLite file from one that takes its place; None without a file."""
        if not self.is_sqlite:
            return None
        try:
            status = os.stat(self._path)  # noqa: PTH116 - called with each append
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _reset_if_forked(self) -> None:
        if self._pid != os.getpid():
            self.reset_after_fork()

    def _create_engine(self) -> Engine:
        if self.is_sqlite:
            return create_sqlite_engine(self.url, timeout=self._timeout)
        from hokusai_backend_sql.postgresql import create_postgresql_engine

        return create_postgresql_engine(self.url, timeout=self._timeout)

    @property
    def _timeout(self) -> float:
        return self._settings.journal_timeout


def _direct_postgresql(engine: Engine) -> "DirectPostgresql":
    from hokusai_backend_sql.direct_postgresql import DirectPostgresql

    return DirectPostgresql(engine)
