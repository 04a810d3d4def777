"""What is in the journal: entries, figures, counts."""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, func, literal, or_, select, true, union_all

from hokusai_backend_sql.entry_rows import queued_operation
from hokusai_backend_sql.journal_schema import (
    HAS_DEAD,
    HAS_WAITING,
    IS_WAITING,
    ZERO,
    operation_waits,
    operations,
    streams,
)
from hokusai_backend_sql.keys import looked_up
from hokusai_backend_sql.schema import AnyRow, database_now
from hokusai_core.journal import Backlog, EntryQuery, QueuedOperation, StreamBacklog
from hokusai_core.operations import json_text

_LISTED_STREAMS = 100


def read(connection: Connection, query: EntryQuery) -> tuple[QueuedOperation, ...]:
    """Read the entries that a query selects, in the order of their sequence."""
    statement = (
        select(operations, streams.c.waiting_for, streams.c.ready_at)
        .outerjoin(
            streams,
            and_(
                streams.c.stream == operations.c.stream,
                streams.c.destination == operations.c.destination,
            ),
        )
        .where(operations.c.sequence > query.after)
        .order_by(operations.c.sequence)
        .limit(query.limit)
    )
    if query.destination:
        statement = statement.where(operations.c.destination == query.destination)
    for column, wanted in (
        (operations.c.stream, query.streams),
        (operations.c.kind, query.kinds),
        (operations.c.op_id, query.op_ids),
        (operations.c.primary_id, query.primary_ids),
    ):
        if wanted:
            statement = statement.where(column.in_(wanted))
    if query.states:
        # Spelled out one by one, so that the partial indexes are found.
        statement = statement.where(
            or_(
                *(
                    operations.c.state == literal(state, literal_execute=True)
                    for state in query.states
                )
            )
        )
    if query.mentions:
        position = func.instr if connection.dialect.name == "sqlite" else func.strpos
        text = func.lower(json_text(query.mentions))
        statement = statement.where(position(func.lower(operations.c.payload), text) > 0)
    if query.requires:
        statement = statement.where(
            operations.c.sequence.in_(
                select(operation_waits.c.sequence).where(
                    operation_waits.c.key.in_(looked_up(query.requires)),
                    operation_waits.c.hard == true(),
                )
            )
        )
    return tuple(_listed_entry(row) for row in connection.execute(statement))


def _listed_entry(row: AnyRow) -> QueuedOperation:
    if row.state != "waiting" or row.ready_at is None:
        return queued_operation(row)
    return queued_operation(row, row.waiting_for, max(row.ready_at, row.not_before))


def unsettled(connection: Connection, names: Sequence[str]) -> int:
    """Count the waiting operations of streams, all destinations together."""
    waiting = connection.scalar(
        select(func.sum(streams.c.waiting)).where(streams.c.stream.in_(names))
    )
    return int(waiting or 0)


_counted = union_all(
    select(streams.c.destination, streams.c.waiting, ZERO.label("dead")).where(HAS_WAITING),
    select(streams.c.destination, ZERO.label("waiting"), streams.c.dead).where(HAS_DEAD),
).subquery("counted")
_COUNTS = (
    select(
        _counted.c.destination,
        func.sum(_counted.c.waiting).label("waiting"),
        func.sum(_counted.c.dead).label("dead"),
    )
    .group_by(_counted.c.destination)
    .order_by(_counted.c.destination)
)
"""Each half is read from a partial index; with ``OR`` between them, the whole table would be."""


def backlog(connection: Connection, destination: str) -> Backlog:
    """Give the figures, and the first streams of a destination ("" for all)."""
    by_destination, dead = {}, 0
    for row in connection.execute(_COUNTS):
        dead += int(row.dead or 0)
        if row.waiting:
            by_destination[row.destination] = int(row.waiting)
    oldest_at = connection.scalar(
        select(operations.c.appended_at).where(IS_WAITING).order_by(operations.c.sequence).limit(1)
    )
    return Backlog(
        waiting=sum(by_destination.values()),
        dead=dead,
        oldest_at=oldest_at,
        by_destination=by_destination,
        streams=_listed(connection, destination),
        now=connection.scalar(select(database_now())) or 0.0,
    )


def _listed(connection: Connection, destination: str) -> tuple[StreamBacklog, ...]:
    oldest = (
        select(operations.c.appended_at)
        .where(
            operations.c.stream == streams.c.stream,
            operations.c.destination == streams.c.destination,
            IS_WAITING,
        )
        .order_by(operations.c.sequence)
        .limit(1)
        .scalar_subquery()
    )
    statement = (
        select(streams, oldest.label("oldest_at"))
        .where(HAS_WAITING)
        .order_by(streams.c.ready_at, streams.c.stream)
        .limit(_LISTED_STREAMS)
    )
    if destination:
        statement = statement.where(streams.c.destination == destination)
    return tuple(
        StreamBacklog(
            stream=row.stream,
            destination=row.destination,
            waiting=row.waiting,
            oldest_at=row.oldest_at or 0.0,
            next_attempt_at=row.ready_at,
            waiting_for=row.waiting_for,
            error=row.error,
        )
        for row in connection.execute(statement)
    )
