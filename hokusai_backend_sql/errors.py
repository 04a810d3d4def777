"""What SQLAlchemy and the drivers raise, as the errors of the core.

Classified by type and SQLSTATE, never by text. Of the driver's message only that of a failed
connection is repeated: others may quote data.
"""

import sqlite3

from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hokusai_core.errors import (
    AuthenticationError,
    HokusaiError,
    JournalUnavailableError,
    PermissionDeniedError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.plugins import Role

_PERMISSION_DENIED = "42501"
_READ_ONLY = "25006"
_AUTHENTICATION_CLASS = "28"
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58")
"""Connection, rollback, resources, object state, operator intervention, system."""


def translate(
    cause: SQLAlchemyError | UnicodeError, *, place: str, role: Role, commit_under_way: bool
) -> HokusaiError:
    """Give the core's error for a database error.

    Args:
        cause: What SQLAlchemy raised, or a driver that cannot write or read a text.
        place: The database, as it is named to people: without credentials.
        role: A journal is unavailable, whatever the reason; a primary tells more.
        commit_under_way: Whether the transaction may have been committed all the same.

    """
    if isinstance(cause, UnicodeError):
        return _unwritable(cause, place, role)
    reason = _reason(cause)
    if role != "primary":
        return JournalUnavailableError(
            f"The journal in {place} failed: {reason}. Check that the database is up and can be "
            "written (HOKUSAI_DATABASE_URL); `hokusai doctor` tells more.",
            maybe_applied=commit_under_way,
        )
    message = f"The database {place} failed: {reason}. Check it, and HOKUSAI_DATABASE_URL."
    state = sqlstate(cause)
    if state.startswith(_AUTHENTICATION_CLASS):
        return AuthenticationError(message)
    if state == _PERMISSION_DENIED:
        return PermissionDeniedError(message)
    if _is_transient(cause, state):
        return UnavailableError(message, maybe_applied=commit_under_way)
    return RejectedError(message)


class NotConnectedError(OperationalError):
    """No connection was made, so nothing was sent."""


class OtherThreadError(PoolTimeoutError):
    """Another thread of this process was at the SQLite file for too long, so nothing was written."""


class SameThreadError(PoolTimeoutError):
    """A signal handler came within a write of its own thread, so nothing was written."""


SIGNAL_HANDLER = (
    "a signal handler came in the middle of a write of its own thread, for which it cannot wait"
)


def as_sqlalchemy(cause: sqlite3.Error) -> DBAPIError:
    """Give SQLAlchemy's error for what SQLite raised in a call that went past SQLAlchemy."""
    return OperationalError(None, None, cause, hide_parameters=True)


def sqlstate(cause: SQLAlchemyError) -> str:
    """Give the five characters of the SQL standard's error code, "" where there is none."""
    original = cause.orig if isinstance(cause, DBAPIError) else None
    return getattr(original, "sqlstate", None) or ""


def may_be_applied(cause: SQLAlchemyError) -> bool:
    """Say whether a single SQLite statement, a transaction of its own, may have been committed.

    Where a lock was not had, or the disk was full, it was not.
    """
    if isinstance(cause, OtherThreadError | SameThreadError):
        return False
    original = cause.orig if isinstance(cause, DBAPIError) else None
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    return code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)


def _unwritable(cause: UnicodeError, place: str, role: Role) -> HokusaiError:
    reason = (
        f"The database {place} cannot hold a text, or gave one that cannot be read "
        f"({type(cause).__name__}). Take halves of surrogate pairs out of the value, or let the "
        "database have the encoding UTF8."
    )
    return RejectedError(reason) if role == "primary" else JournalUnavailableError(reason)


def _is_transient(cause: SQLAlchemyError, state: str) -> bool:
    if isinstance(cause, PoolTimeoutError | DisconnectionError):
        return True
    if isinstance(cause, DBAPIError) and cause.connection_invalidated:
        return True
    if state:
        return state.startswith(_TRANSIENT_CLASSES) or state == _READ_ONLY
    return isinstance(cause, OperationalError | InterfaceError | InternalError)


def _reason(cause: SQLAlchemyError) -> str:
    if isinstance(cause, OtherThreadError):
        return (
            "the file is locked: another thread of this process writes to it for too long, or waits "
            "for another process that does"
        )
    if isinstance(cause, SameThreadError):
        return SIGNAL_HANDLER
    if isinstance(cause, PoolTimeoutError):
        return "no connection of the pool became free in time"
    original = cause.orig if isinstance(cause, DBAPIError) else None
    if original is None:
        return type(cause).__name__
    state = sqlstate(cause)
    name = type(original).__name__ + (f" (SQLSTATE {state})" if state else "")
    sqlite_name = getattr(original, "sqlite_errorname", "")
    if sqlite_name:
        name += f" ({sqlite_name})"
    if isinstance(cause, OperationalError) and (not state or state.startswith(("08", "57"))):
        lines = str(original).strip().splitlines()
        return f"{name}: {lines[0]}" if lines else name
    return name
