"""A server has a new address: all that waits for the old one is given to the new one."""

from sqlalchemy import Connection, delete, or_, select, text, update

from hokusai_backend_sql.journal_schema import (
    id_map,
    operation_keys,
    operation_waits,
    operations,
    streams,
)
from hokusai_backend_sql.lists import pair_of
from hokusai_backend_sql.schema import SCHEMA_NAME, database_now
from hokusai_backend_sql.stream_rows import STATEMENT_VALUES
from hokusai_backend_sql.time_limits import without_time_limit
from hokusai_core.errors import JournalBusyError


def move(connection: Connection, source: str, target: str) -> int:
    """Give all of one destination to another; returns how many entries went.

    Raises:
        JournalBusyError: A worker holds one of the streams.

    """
    if source == target:
        return 0
    with without_time_limit(connection):
        _lock(connection)
        _refuse_held(connection, source, target)
        _merge(connection, source, target)
        connection.execute(
            update(streams)
            .where(streams.c.destination == source)
            .values(destination=target, worker="", lease_until=None)
        )
        for table in (operation_keys, operation_waits, id_map):
            connection.execute(
                update(table).where(table.c.destination == source).values(destination=target)
            )
        return connection.execute(
            update(operations).where(operations.c.destination == source).values(destination=target)
        ).rowcount


def _lock(connection: Connection) -> None:
    """Let nobody append, claim or settle meanwhile. A write transaction of SQLite is alone."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {SCHEMA_NAME}.streams IN EXCLUSIVE MODE"))


def _refuse_held(connection: Connection, source: str, target: str) -> None:
    now = select(database_now()).scalar_subquery()
    names = select(streams.c.stream).where(streams.c.destination == source)
    held = connection.execute(
        select(streams.c.stream, streams.c.worker)
        .where(
            or_(streams.c.destination == source, streams.c.destination == target),
            streams.c.stream.in_(names),
            streams.c.lease_until > now,
        )
        .order_by(streams.c.stream)
        .limit(1)
    ).one_or_none()
    if held is not None:
        raise JournalBusyError(
            f"Worker {held.worker} is delivering stream {held.stream!r}, so nothing was moved from "
            f"{source} to {target}. Stop the workers and jobs of {source}, or wait until their "
            "leases end (HOKUSAI_LEASE_SECONDS), and move again."
        )


def _merge(connection: Connection, source: str, target: str) -> None:
    """Let streams that both destinations have become one: the target's row takes all."""
    of_target = select(streams.c.stream).where(streams.c.destination == target)
    double = connection.execute(
        select(streams).where(streams.c.destination == source, streams.c.stream.in_(of_target))
    ).all()
    for row in double:
        own = streams.alias("own")
        fence = (
            select(own.c.fence)
            .where(own.c.stream == row.stream, own.c.destination == target)
            .scalar_subquery()
        )
        higher = max(row.fence, connection.scalar(select(fence)) or 0)
        connection.execute(
            update(streams)
            .where(streams.c.stream == row.stream, streams.c.destination == target)
            .values(
                waiting=streams.c.waiting + row.waiting,
                dead=streams.c.dead + row.dead,
                ready_at=database_now(),
                fence=higher + 1,
                worker="",
                lease_until=None,
                held_for=0,
                waiting_for="",
            )
        )
    for start in range(0, len(double), STATEMENT_VALUES):
        part = [(row.stream, source) for row in double[start : start + STATEMENT_VALUES]]
        connection.execute(
            delete(streams).where(pair_of(streams.c.stream, streams.c.destination, "names")),
            {"names": part},
        )
