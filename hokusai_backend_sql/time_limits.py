"""Lifting the bounds of a transaction, on either database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection


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
