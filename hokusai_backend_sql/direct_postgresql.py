"""Single statements on PostgreSQL without SQLAlchemy, each committed in its one round trip."""

from collections import deque
from typing import cast

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from hokusai_backend_sql.errors import NotConnectedError
from hokusai_backend_sql.postgresql import BoundedConnection, is_stale

_KEPT = 4
"""Connections that are kept between calls: as many threads log at once without connecting anew."""


class DirectPostgresql:
    """A few kept connections in autocommit mode, each used by one thread at a time.

    Args:
        engine: Makes the connections; what it sets on them holds here, too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: deque[BoundedConnection] = deque()
        self._inherited: list[BoundedConnection] = []

    def run(self, statement: str, parameters: tuple[object, ...]) -> object:
        """Run a statement, commit it, and give the first value of its first row, or None.

        Raises:
            NotConnectedError: Nothing was sent.
            sqlalchemy.exc.SQLAlchemyError: As the engine would.
        """
        connection = self._take()
        try:
            cursor = connection.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
        except psycopg.Error as cause:
            connection.close()
            raise DBAPIError.instance(
                None, None, cause, psycopg.Error, hide_parameters=True, dialect=self._engine.dialect
            ) from cause
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()
        return row[0] if row else None

    def close(self) -> None:
        """Close the connections that are not in use. The next use opens one."""
        while self._idle:
            self._idle.pop().close()

    def reset_after_fork(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        self._inherited.extend(self._idle)
        self._idle = deque()

    def _take(self) -> BoundedConnection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if not is_stale(connection):
                return connection
            connection.close()
        try:
            pooled = self._engine.raw_connection()
        except psycopg.Error as cause:
            raise NotConnectedError(None, None, cause, hide_parameters=True) from cause
        connection = cast("BoundedConnection", pooled.dbapi_connection)
        pooled.detach()
        connection.autocommit = True
        return connection
