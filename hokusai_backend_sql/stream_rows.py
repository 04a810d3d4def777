"""The rows of streams: locked always in one order, counted, and woken.

Whoever locks several streams does so in the order of their names, by code points, and after the
contents that it needs, so that no two transactions wait for each other in a circle.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from hokusai_backend_sql.content import contents
from hokusai_backend_sql.journal_schema import (
    IS_WAITING,
    operation_keys,
    operation_waits,
    operations,
    streams,
)
from hokusai_backend_sql.lists import one_of, pair_of
from hokusai_backend_sql.schema import AnyRow, database_now
from hokusai_core.errors import LeaseLostError
from hokusai_core.journal import Claim

STATEMENT_VALUES = 5000
"""Most values in one statement's list; SQLite allows about 32,000."""


class StreamKey(NamedTuple):
    """What identifies a stream."""

    stream: str
    destination: str


_LOCK = (
    select(streams, database_now().label("now"))
    .where(pair_of(streams.c.stream, streams.c.destination, "names"))
    .with_for_update()
)
_LOCK_POSTGRESQL = _LOCK.order_by(streams.c.stream.collate("C"), streams.c.destination.collate("C"))
"""In the order of code points; on SQLite there is one writer at a time, whatever the order."""

_HELD_BY = (
    select(operation_waits.c.stream, operation_waits.c.destination)
    .distinct()
    .select_from(operations)
    .join(operation_keys, operation_keys.c.sequence == operations.c.sequence)
    .join(
        operation_waits,
        and_(
            operation_waits.c.destination == operation_keys.c.destination,
            operation_waits.c.key == operation_keys.c.key,
        ),
    )
    .where(one_of(operations.c.op_id, "op_ids"))
)


def lock_streams(connection: Connection, keys: Collection[StreamKey]) -> Sequence[AnyRow]:
    """Lock the rows of these streams and give them, each with the database's time as ``now``."""
    lock = _LOCK_POSTGRESQL if connection.dialect.name == "postgresql" else _LOCK
    rows: list[AnyRow] = []
    ordered = sorted(keys)
    for start in range(0, len(ordered), STATEMENT_VALUES):
        part = ordered[start : start + STATEMENT_VALUES]
        rows += connection.execute(lock, {"names": part}).all()
    return rows


_LOCK_CONTENTS = (
    select(contents.c.sha256)
    .where(
        contents.c.sha256.in_(
            select(operations.c.content_sha256).where(
                one_of(operations.c.op_id, "op_ids"),
                operations.c.content_sha256.is_not(None),
            )
        )
    )
    .order_by(contents.c.sha256)
    .with_for_update()
)


def lock_contents(connection: Connection, op_ids: Sequence[str]) -> None:
    """Lock the contents of these operations. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        for start in range(0, len(op_ids), STATEMENT_VALUES):
            connection.execute(_LOCK_CONTENTS, {"op_ids": op_ids[start : start + STATEMENT_VALUES]})


def lock_claimed(
    connection: Connection, claim: Claim, others: Collection[StreamKey] = ()
) -> AnyRow:
    """Lock the claim's stream (and others besides), and give its row.

    Raises:
        LeaseLostError: The fence is no longer the claim's.

    """
    own = StreamKey(claim.stream, claim.destination)
    for row in lock_streams(connection, {own, *others}):
        if (row.stream, row.destination) == own:
            if row.fence == claim.fence and row.lease_until is not None:
                return row
            break
    raise lease_lost(claim)


def lease_lost(claim: Claim) -> LeaseLostError:
    """Give the error that says that a claim is over."""
    return LeaseLostError(
        f"The claim of {claim.worker} on stream {claim.stream!r} (fence {claim.fence}) is over: it "
        "was released, or another worker took the stream after the lease. Nothing was changed."
    )


def streams_held_by(connection: Connection, op_ids: Sequence[str]) -> set[StreamKey]:
    """Find the streams with operations that wait for what these operations provide."""
    held: set[StreamKey] = set()
    for start in range(0, len(op_ids), STATEMENT_VALUES):
        part = op_ids[start : start + STATEMENT_VALUES]
        found = connection.execute(_HELD_BY, {"op_ids": part})
        held.update(StreamKey(*row) for row in found)
    return held


_WAKE = (
    update(streams)
    .where(
        pair_of(streams.c.stream, streams.c.destination, "names"),
        or_(streams.c.held_for > 0, streams.c.waiting_for != ""),
    )
    .values(ready_at=database_now(), held_for=0, waiting_for="")
)


def wake(connection: Connection, keys: Collection[StreamKey]) -> None:
    """Let streams that wait for another entry be looked at again at once. They are locked.

    Also those that a worker gave back because it did not know an id, which is known now.
    """
    ordered = sorted(keys)
    for start in range(0, len(ordered), STATEMENT_VALUES):
        part = ordered[start : start + STATEMENT_VALUES]
        connection.execute(_WAKE, {"names": part})


_ADD = (
    update(streams)
    .where(
        streams.c.stream == bindparam("of_stream"),
        streams.c.destination == bindparam("of_destination"),
    )
    .values(
        waiting=streams.c.waiting + bindparam("more_waiting"),
        dead=streams.c.dead + bindparam("more_dead"),
    )
)


def add_counts(connection: Connection, changes: Mapping[StreamKey, tuple[int, int]]) -> None:
    """Add to the numbers of waiting and dead operations of streams, which are locked."""
    if changes:
        connection.execute(
            _ADD,
            [
                {
                    "of_stream": key.stream,
                    "of_destination": key.destination,
                    "more_waiting": waiting,
                    "more_dead": dead,
                }
                for key, (waiting, dead) in sorted(changes.items())
            ],
        )


def recount_waiting(connection: Connection, keys: Collection[StreamKey]) -> None:
    """Count the waiting operations of streams anew. They are locked."""
    for key in sorted(keys):
        waiting = (
            select(func.count())
            .where(
                operations.c.stream == key.stream,
                operations.c.destination == key.destination,
                IS_WAITING,
            )
            .scalar_subquery()
        )
        connection.execute(
            update(streams)
            .where(streams.c.stream == key.stream, streams.c.destination == key.destination)
            .values(waiting=waiting)
        )
