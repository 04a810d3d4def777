"""Each exception class of SQLAlchemy and psycopg, and the class that it gets.

The libraries are walked. A driver's class arrives inside SQLAlchemy's class of the same name, with
its SQLSTATE, which decides.
"""

import inspect

import psycopg
import psycopg.errors
import pytest
import sqlalchemy.exc
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hokusai_backend_sql.errors import translate
from hokusai_core.errors import (
    AuthenticationError,
    BackendError,
    JournalUnavailableError,
    PermissionDeniedError,
    RejectedError,
    UnavailableError,
)

OF_SQLALCHEMY = [
    member
    for _, member in sorted(vars(sqlalchemy.exc).items())
    if inspect.isclass(member) and issubclass(member, SQLAlchemyError)
]
OF_PSYCOPG = [
    member
    for _, member in sorted(vars(psycopg.errors).items())
    if inspect.isclass(member) and issubclass(member, psycopg.Error)
]
TRANSIENT_WITHOUT_STATE = {
    "DisconnectionError",
    "InterfaceError",
    "InternalError",
    "InvalidatePoolError",
    "OperationalError",
    "TimeoutError",
}
"""SQLAlchemy's classes that are outages where no SQLSTATE says more; the others are refusals."""
TRANSIENT_CLASSES = {"08", "40", "53", "55", "57", "58"}
"""Classes of SQLSTATE (PostgreSQL's documentation, appendix A) that may work later."""
PARTICULAR: dict[str, type[BackendError]] = {
    "25006": UnavailableError,
    "28000": AuthenticationError,
    "28P01": AuthenticationError,
    "42501": PermissionDeniedError,
}


@pytest.mark.parametrize("kind", OF_SQLALCHEMY, ids=lambda kind: kind.__name__)
def test_every_class_of_sqlalchemy(kind: type[SQLAlchemyError]) -> None:
    cause = kind.__new__(kind)
    if isinstance(cause, DBAPIError):
        cause.orig = Exception("x")
        cause.connection_invalidated = False
    expected = UnavailableError if kind.__name__ in TRANSIENT_WITHOUT_STATE else RejectedError
    assert type(translate(cause, place="x", role="primary", commit_under_way=False)) is expected
    for role in ("journal", "spool"):
        error = translate(cause, place="x", role=role, commit_under_way=True)
        assert isinstance(error, JournalUnavailableError)
        assert error.maybe_applied


@pytest.mark.parametrize("kind", OF_PSYCOPG, ids=lambda kind: f"{kind.__name__}")
def test_every_class_of_psycopg(kind: type[psycopg.Error]) -> None:
    original = kind("x")
    cause = DBAPIError.instance(
        "SELECT 1", {}, original, psycopg.Error, hide_parameters=True, dialect=None
    )
    assert isinstance(cause, DBAPIError)
    state = original.sqlstate or ""
    if state:
        default = UnavailableError if state[:2] in TRANSIENT_CLASSES else RejectedError
        expected = PARTICULAR.get(state, default)
    else:
        transient = type(cause).__name__ in TRANSIENT_WITHOUT_STATE
        expected = UnavailableError if transient else RejectedError
    error = translate(cause, place="x", role="primary", commit_under_way=False)
    assert type(error) is expected, (state, type(cause))


def test_enough_classes_were_found() -> None:
    assert len(OF_SQLALCHEMY) > 30
    assert len(OF_PSYCOPG) > 200
