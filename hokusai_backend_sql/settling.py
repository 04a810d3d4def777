"""A worker keeps its claim, records what became of the operations, and gives the stream back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Double, bindparam, delete, select, true, update

from hokusai_backend_sql import id_mapping
from hokusai_backend_sql.content import drop_reference
from hokusai_backend_sql.journal_schema import (
    IS_WAITING,
    operation_keys,
    operation_waits,
    operations,
    streams,
)
from hokusai_backend_sql.lists import one_of
from hokusai_backend_sql.schema import AnyRow, database_now
from hokusai_backend_sql.spans import PROVIDES_NOTHING, deliver_span, delivered_span
from hokusai_backend_sql.stream_rows import (
    lease_lost,
    lock_claimed,
    lock_contents,
    streams_held_by,
    wake,
)
from hokusai_core.journal import Claim, Release, Settlement
from hokusai_core.operations import LogArtifact

# The statements of each settlement are built once: building them takes longer than running them.

_OF_CLAIM = (
    operations.c.stream == bindparam("of_stream"),
    operations.c.destination == bindparam("of_destination"),
)
_WAITING = (*_OF_CLAIM, IS_WAITING)
_THE_STREAM = (
    streams.c.stream == bindparam("of_stream"),
    streams.c.destination == bindparam("of_destination"),
)

_RENEW = (
    update(streams)
    .where(
        *_THE_STREAM,
        streams.c.fence == bindparam("its_fence"),
        streams.c.lease_until.is_not(None),
    )
    .values(lease_until=database_now() + bindparam("lease", type_=Double))
    .returning(streams.c.lease_until, streams.c.late_effect_seconds)
)

_TO_SETTLE = select(
    operations.c.sequence,
    operations.c.op_id,
    operations.c.kind,
    operations.c.late_effects_matter,
    operations.c.state,
    operations.c.content_sha256,
).where(*_OF_CLAIM, one_of(operations.c.op_id, "op_ids"))

_COUNT_SETTLED = (
    update(streams)
    .where(*_THE_STREAM)
    .values(
        waiting=streams.c.waiting - bindparam("settled"),
        dead=streams.c.dead + bindparam("newly_dead"),
        lease_until=bindparam("end"),
    )
)

_UNMARK = (
    update(operations)
    .where(
        *_WAITING,
        one_of(operations.c.op_id, "op_ids"),
        operations.c.marked_by == bindparam("its_fence"),
    )
    .values(marked_by=0, not_before=operations.c.unmarked_not_before)
)

_COUNT_ATTEMPT = (
    update(operations)
    .where(*_WAITING, one_of(operations.c.op_id, "op_ids"))
    .values(attempts=operations.c.attempts + 1, error=bindparam("reason"))
)

_FIRST_WAITING = (
    select(operations.c.not_before).where(*_WAITING).order_by(operations.c.sequence).limit(1)
)

_GIVE_BACK = (
    update(streams)
    .where(*_THE_STREAM)
    .values(
        ready_at=bindparam("next_attempt"),
        worker="",
        lease_until=None,
        error=bindparam("reason"),
        waiting_for=bindparam("missing"),
    )
)

_PUT_OFF = (
    update(operations)
    .where(
        *_WAITING,
        operations.c.marked_by == bindparam("its_fence"),
        operations.c.late_effects_matter == true(),
    )
    .values(not_before=bindparam("window_end"))
)

_FORGET_KEYS = delete(operation_keys).where(one_of(operation_keys.c.sequence, "sequences"))
_FORGET_WAITS = delete(operation_waits).where(one_of(operation_waits.c.sequence, "sequences"))

_HAS_CONTENT: str = LogArtifact.model_fields["kind"].default

_FINISH = (
    update(operations)
    .where(one_of(operations.c.sequence, "sequences"))
    .values(state=bindparam("end"), settled_at=database_now(), error="", content_sha256=None)
)


def renew(connection: Connection, claim: Claim) -> None:
    """Begin the lease anew; raises LeaseLostError where the claim is over."""
    row = connection.execute(
        _RENEW, _names(claim) | {"its_fence": claim.fence, "lease": claim.lease_seconds}
    ).one_or_none()
    if row is None:
        raise lease_lost(claim)
    if _has_late_effects(claim):
        _put_off_marked(connection, claim, row.lease_until + row.late_effect_seconds)


def settle(connection: Connection, claim: Claim, settlements: Sequence[Settlement]) -> int:
    """Record outcomes and mappings, and begin the lease anew; returns how many were waiting."""
    span = delivered_span(claim, settlements)
    if span is not None:
        stream = lock_claimed(connection, claim)
        settled = deliver_span(connection, claim, span, stream.now)
        _count_settled(connection, claim, stream, settled=settled, dead=0)
        return settled
    by_op_id = {settlement.op_id: settlement for settlement in settlements}
    providing = [
        queued.op_id
        for queued in claim.operations
        if queued.op_id in by_op_id and queued.kind != PROVIDES_NOTHING
    ]
    held = streams_held_by(connection, providing)
    if any(queued.kind == _HAS_CONTENT for queued in claim.operations):
        lock_contents(connection, list(by_op_id))
    stream = lock_claimed(connection, claim, held)
    rows = connection.execute(_TO_SETTLE, _names(claim) | {"op_ids": list(by_op_id)}).all()
    waiting = [row for row in rows if row.state == "waiting"]
    delivered = [row for row in waiting if by_op_id[row.op_id].outcome == "delivered"]
    dead = [row for row in waiting if by_op_id[row.op_id].outcome == "dead"]
    superseded = [row for row in waiting if by_op_id[row.op_id].outcome == "superseded"]
    _deliver(connection, delivered, by_op_id)
    _supersede(connection, superseded)
    _bury(connection, dead, by_op_id, stream.now + stream.late_effect_seconds)
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
    _count_settled(connection, claim, stream, settled=len(waiting), dead=len(dead))
    wake(connection, held)
    return len(waiting)


def _count_settled(
    connection: Connection, claim: Claim, stream: AnyRow, *, settled: int, dead: int
) -> None:
    """Count what was settled, and begin the lease anew."""
    lease_until = stream.now + claim.lease_seconds
    connection.execute(
        _COUNT_SETTLED,
        _names(claim) | {"settled": settled, "newly_dead": dead, "end": lease_until},
    )
    if _has_late_effects(claim):
        _put_off_marked(connection, claim, lease_until + stream.late_effect_seconds)


def release(connection: Connection, claim: Claim, given_back: Release) -> None:
    """End the claim; raises LeaseLostError where it is over already."""
    stream = lock_claimed(connection, claim)
    names = _names(claim)
    if given_back.untouched:
        connection.execute(
            _UNMARK, names | {"op_ids": given_back.untouched, "its_fence": claim.fence}
        )
    if given_back.attempted:
        connection.execute(
            _COUNT_ATTEMPT,
            names | {"op_ids": given_back.attempted, "reason": given_back.error},
        )
    if _has_late_effects(claim):
        _put_off_marked(connection, claim, stream.now + stream.late_effect_seconds)
    first = connection.scalar(_FIRST_WAITING, names)
    connection.execute(
        _GIVE_BACK,
        names
        | {
            "next_attempt": max(stream.now + given_back.retry_in, first or 0.0),
            "reason": given_back.error,
            "missing": given_back.waiting_for,
        },
    )


def forget_keys(connection: Connection, rows: Sequence[AnyRow]) -> None:
    """Remove what settled operations provide and wait for, and their content."""
    sequences = [row.sequence for row in rows]
    if not sequences:
        return
    providing = [row.sequence for row in rows if row.kind != PROVIDES_NOTHING]
    if providing:
        connection.execute(_FORGET_KEYS, {"sequences": providing})
    connection.execute(_FORGET_WAITS, {"sequences": sequences})
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
        connection.execute(_FINISH, {"sequences": plain, "end": "delivered"})
    creations = [
        {"settled": row.sequence, "given_id": by_op_id[row.op_id].primary_id}
        for row in rows
        if by_op_id[row.op_id].primary_id
    ]
    if creations:
        connection.execute(_DELIVER_CREATION, creations)
    forget_keys(connection, rows)


def _supersede(connection: Connection, rows: Sequence[AnyRow]) -> None:
    if rows:
        sequences = [row.sequence for row in rows]
        connection.execute(_FINISH, {"sequences": sequences, "end": "superseded"})
        forget_keys(connection, rows)


_BURY = (
    update(operations)
    .where(operations.c.sequence == bindparam("settled"))
    .values(
        state="dead",
        settled_at=database_now(),
        attempts=operations.c.attempts + 1,
        error=bindparam("reason"),
        not_before=bindparam("window_end"),
        unmarked_not_before=bindparam("window_end"),
    )
)


def _bury(
    connection: Connection,
    rows: Sequence[AnyRow],
    by_op_id: dict[str, Settlement],
    window_end: float,
) -> None:
    """Make dead letters; a refusal is an answer, after which no late effect has to be waited for."""
    if rows:
        connection.execute(
            _BURY,
            [
                {
                    "settled": row.sequence,
                    "reason": by_op_id[row.op_id].error,
                    "window_end": window_end
                    if by_op_id[row.op_id].late and row.late_effects_matter
                    else 0.0,
                }
                for row in rows
            ],
        )


def _put_off_marked(connection: Connection, claim: Claim, not_before: float) -> None:
    """Let no other worker take the creations of this claim before a late effect has shown."""
    connection.execute(
        _PUT_OFF, _names(claim) | {"its_fence": claim.fence, "window_end": not_before}
    )


def _has_late_effects(claim: Claim) -> bool:
    # Only of a batch whose late effects do no harm does a claim hold the text alone.
    return any(
        not isinstance(queued.stored, str)
        and queued.stored is not None
        and queued.stored.late_effects_matter
        for queued in claim.operations
    )


def _names(claim: Claim) -> dict[str, Any]:
    return {"of_stream": claim.stream, "of_destination": claim.destination}
