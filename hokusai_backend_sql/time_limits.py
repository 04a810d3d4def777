"""The bounds of a transaction, on either database: a hook's deadline, and their lifting."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from sqlalchemy import Connection

from hokusai_core.clock import Deadline

Hooks = TypeVar("Hooks", bound=type)

_BY_PROGRESS = ("tracking_log_artifact", "tracking_download_artifact", "registry_download_model")
"""Hooks whose deadline is the time without progress, and not a time in all."""

_deadline: ContextVar[Deadline | None] = ContextVar("hokusai_sql_deadline", default=None)


def remaining(seconds: float) -> float:
    """Give ``seconds``, or what the hook that is being called has left where that is less."""
    deadline = _deadline.get()
    return seconds if deadline is None else deadline.at_most(seconds)


def within_deadlines(hooks: Hooks) -> Hooks:
    """Let each hook of a class end by its ``deadline``, whatever the database does."""
    for name, member in tuple(vars(hooks).items()):
        if name in _BY_PROGRESS or not inspect.isfunction(member):
            continue
        parameters = tuple(inspect.signature(member).parameters)
        if not name.startswith("_") and parameters[-1] == "deadline":
            setattr(hooks, name, _within_deadline(member))
    return hooks


def _within_deadline(hook: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(hook)
    def bounded(*arguments: Any, **named: Any) -> Any:
        token = _deadline.set(named["deadline"] if "deadline" in named else arguments[-1])
        try:
            return hook(*arguments, **named)
        finally:
            _deadline.reset(token)

    return bounded


@contextmanager
def without_time_limit(connection: Connection) -> Iterator[None]:
    """Let the statements of this transaction take as long as they need.

    SQLite has no bounds within a transaction, once it has begun.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    from hokusai_backend_sql import postgresql

    with postgresql.without_time_limit(connection):
        yield
