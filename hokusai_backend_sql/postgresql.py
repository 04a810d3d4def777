"""PostgreSQL connections that never keep a caller waiting: every wait has an end."""

import math
import select
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar, cast

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from hokusai_backend_sql.schema import SCHEMA_NAME
from hokusai_backend_sql.time_limits import remaining

CONNECT_TIMEOUT = 2
"""Seconds that libpq may spend on one address; it knows no less."""

_IDLE_IN_TRANSACTION_SECONDS = 60
"""After this the server ends a transaction whose process sleeps, so that its locks go."""

_CLIENT_GRACE = 1.0
"""Seconds that the server's own time-outs get before the connection is given up."""

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):
    """A psycopg connection that is closed when the server does not answer in time.

    The server's statement time-out does not help where the server itself stands still.
    """

    answer_timeout: float = 60.0
    """Seconds that one statement may take."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Run one exchange with the server, within ``answer_timeout`` and the hook's deadline."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, exchange: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        deadline = monotonic() + remaining(self.answer_timeout)
        try:
            wanted = next(exchange)
            while True:
                ready = yield wanted
                if not ready and monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server did not answer in time")
                wanted = exchange.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def is_stale(connection: BoundedConnection) -> bool:
    """Say whether an idle connection is closed, or was ended by the server.

    An idle one has nothing to say otherwise; looking at the socket costs no round trip.
    """
    return bool(connection.closed or select.select([connection.fileno()], [], [], 0)[0])


@contextmanager
def without_time_limit(connection: Connection) -> Iterator[None]:
    """Let the statements of this transaction take as long as they need.

    For what a person asked for, and that touches every row.
    """
    bounded = cast("BoundedConnection", connection.connection.dbapi_connection)
    before = bounded.answer_timeout
    bounded.answer_timeout = math.inf
    try:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        yield
    finally:
        bounded.answer_timeout = before


def create_postgresql_engine(url: URL, *, timeout: float) -> Engine:
    """Make an engine whose tables are in the schema ``hokusai``; connects later, when used.

    Args:
        url: The database, with the driver psycopg.
        timeout: Seconds that a statement, a lock or a free connection may be waited for.

    """
    engine = create_engine(
        url,
        pool_size=4,
        max_overflow=4,
        pool_timeout=timeout,
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": "hokusai",
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": max(1000, int(timeout * 1000)),
        },
    ).execution_options(schema_translate_map={None: SCHEMA_NAME})

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, keywords: Any) -> BoundedConnection:
        connection = BoundedConnection.connect(*arguments, **keywords)
        connection.answer_timeout = timeout + _CLIENT_GRACE
        return connection

    @event.listens_for(engine, "connect")
    def bound(connection: BoundedConnection, _record: Any) -> None:
        milliseconds = str(max(1, int(timeout * 1000)))
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false), "
            "set_config('lock_timeout', %s, false), "
            "set_config('idle_in_transaction_session_timeout', %s, false)",
            (milliseconds, milliseconds, str(_IDLE_IN_TRANSACTION_SECONDS * 1000)),
        )
        connection.commit()

    @event.listens_for(engine, "checkout")
    def check(connection: BoundedConnection, _record: Any, _proxy: Any) -> None:
        # Nothing has been sent yet: the pool takes a fresh one.
        if is_stale(connection):
            raise DisconnectionError

    return engine
