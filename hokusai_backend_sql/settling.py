"""A worker keeps its claim, records what became of the operations, and gives the stream back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, true, update

from hokusai_backend_sql import id_mapping
from hokusai_backend_sql.content import drop_reference
from hokusai_backend_sql.journal_schema import (
    operation_keys,
    operation_waits,
    operations,
    streams,
)
from hokusai_backend_sql.schema import AnyRow, database_now
from hokusai_backend_sql.stream_rows import (
    lease_lost,
    lock_claimed,
    streams_held_by,
    wake,
)
from hokusai_core.journal import Claim, Release, Settlement


def renew(connection: Connection, claim: Claim) -> None:
    """Begin the lease anew; raises LeaseLostError where the claim is over."""
    row = connection.execute(
        update(streams)
        .where(*_is(claim), streams.c.fence == claim.fence, streams.c.lease_until.is_not(None))
        .values(lease_until=database_now() + claim.lease_seconds)
        .returning(streams.c.lease_until, streams.c.late_effect_seconds)
    ).one_or_none()
    if row is None:
        raise lease_lost(claim)
    if _has_searchable(claim):
        _put_off_marked(connection, claim, row.lease_until + row.late_effect_seconds)


def settle(connection: Connection, claim: Claim, settlements: Sequence[Settlement]) -> int:
    """Record outcomes and mappings, and begin the lease anew; returns how many were waiting."""
    by_op_id = {settlement.op_id: settlement for settlement in settlements}
    held = streams_held_by(connection, list(by_op_id))
    stream = lock_claimed(connection, claim, held)
    rows = connection.execute(
        select(
            operations.c.sequence,
            operations.c.op_id,
            operations.c.kind,
            operations.c.searchable,
            operations.c.state,
            operations.c.content_sha256,
        ).where(
            operations.c.op_id.in_(list(by_op_id)),
            operations.c.stream == claim.stream,
            operations.c.destination == claim.destination,
        )
    ).all()
    waiting = [row for row in rows if row.state == "waiting"]
    delivered = [row for row in waiting if by_op_id[row.op_id].outcome == "delivered"]
    dead = [row for row in waiting if by_op_id[row.op_id].outcome == "dead"]
    _deliver(connection, delivered, by_op_id)
    _bury(connection, dead, by_op_id, stream)
    # What a person discarded meanwhile, and the primary has all the same, keeps its mapping.
    id_mapping.remember(
        connection,
        (
            id_mapping.Mapping(
                row.op_id, row.kind, claim.destination, by_op_id[row.op_id].primary_id
            )
            for row in rows
            if by_op_id[row.op_id].outcome == "delivered"
        ),
    )
    lease_until = stream.now + claim.lease_seconds
    connection.execute(
        update(streams)
        .where(*_is(claim))
        .values(
            waiting=streams.c.waiting - len(waiting),
            dead=streams.c.dead + len(dead),
            lease_until=lease_until,
        )
    )
    if _has_searchable(claim):
        _put_off_marked(connection, claim, lease_until + stream.late_effect_seconds)
    wake(connection, held)
    return len(waiting)


def release(connection: Connection, claim: Claim, given_back: Release) -> None:
    """End the claim; raises LeaseLostError where it is over already."""
    stream = lock_claimed(connection, claim)
    if given_back.untouched:
        connection.execute(
            update(operations)
            .where(
                operations.c.op_id.in_(given_back.untouched),
                operations.c.marked_by == claim.fence,
                *_waiting_of(claim),
            )
            .values(marked_by=0, not_before=operations.c.unmarked_not_before)
        )
    if given_back.attempted:
        connection.execute(
            update(operations)
            .where(operations.c.op_id.in_(given_back.attempted), *_waiting_of(claim))
            .values(attempts=operations.c.attempts + 1, error=given_back.error)
        )
    if _has_searchable(claim):
        _put_off_marked(connection, claim, stream.now + stream.late_effect_seconds)
    first = connection.scalar(
        select(operations.c.not_before)
        .where(*_waiting_of(claim))
        .order_by(operations.c.sequence)
        .limit(1)
    )
    connection.execute(
        update(streams)
        .where(*_is(claim))
        .values(
            ready_at=max(stream.now + given_back.retry_in, first or 0.0),
            worker="",
            lease_until=None,
            error=given_back.error,
            waiting_for=given_back.waiting_for,
        )
    )


def forget_keys(connection: Connection, rows: Sequence[AnyRow]) -> None:
    """Remove what settled operations provide and wait for, and their content."""
    sequences = [row.sequence for row in rows]
    if not sequences:
        return
    connection.execute(delete(operation_keys).where(operation_keys.c.sequence.in_(sequences)))
    connection.execute(delete(operation_waits).where(operation_waits.c.sequence.in_(sequences)))
    for sha256 in sorted(row.content_sha256 for row in rows if row.content_sha256):
        drop_reference(connection, sha256)


_DELIVER_CREATION = (
    update(operations)
    .where(operations.c.sequence == bindparam("settled"))
    .values(
        state="delivered",
        settled_at=database_now(),
        error="",
        content_sha256=None,
        primary_id=bindparam("given_id"),
    )
)


def _deliver(
    connection: Connection, rows: Sequence[AnyRow], by_op_id: dict[str, Settlement]
) -> None:
    plain = [row.sequence for row in rows if not by_op_id[row.op_id].primary_id]
    if plain:
        connection.execute(
            update(operations)
            .where(operations.c.sequence.in_(plain))
            .values(state="delivered", settled_at=database_now(), error="", content_sha256=None)
        )
    creations = [
        {"settled": row.sequence, "given_id": by_op_id[row.op_id].primary_id}
        for row in rows
        if by_op_id[row.op_id].primary_id
    ]
    if creations:
        connection.execute(_DELIVER_CREATION, creations)
    forget_keys(connection, rows)


_BURY = (
    update(operations)
    .where(operations.c.sequence == bindparam("settled"))
    .values(
        state="dead",
        settled_at=database_now(),
        attempts=operations.c.attempts + 1,
        error=bindparam("reason"),
        not_before=bindparam("earliest"),
    )
)


def _bury(
    connection: Connection,
    rows: Sequence[AnyRow],
    by_op_id: dict[str, Settlement],
    stream: AnyRow,
) -> None:
    if rows:
        connection.execute(
            _BURY,
            [
                {
                    "settled": row.sequence,
                    "reason": by_op_id[row.op_id].error,
                    "earliest": stream.now + stream.late_effect_seconds * row.searchable,
                }
                for row in rows
            ],
        )


def _put_off_marked(connection: Connection, claim: Claim, not_before: float) -> None:
    """Let no other worker take the creations of this claim before a late effect has shown."""
    connection.execute(
        update(operations)
        .where(
            *_waiting_of(claim),
            operations.c.marked_by == claim.fence,
            operations.c.searchable == true(),
        )
        .values(not_before=not_before)
    )


def _has_searchable(claim: Claim) -> bool:
    return any(
        queued.operation is not None and type(queued.operation).searchable
        for queued in claim.operations
    )


def _is(claim: Claim) -> tuple[Any, ...]:
    return (
        streams.c.stream == claim.stream,
        streams.c.destination == claim.destination,
    )


def _waiting_of(claim: Claim) -> tuple[Any, ...]:
    return (
        operations.c.stream == claim.stream,
        operations.c.destination == claim.destination,
        operations.c.state == "waiting",
    )
