"""Batches that follow each other in a claim are settled together, by their sequence numbers.

That is nearly all of a large backlog. Two numbers take the place of a thousand ids, and a walk along one
index that of a thousand searches.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Double, bindparam, delete, update

from hokusai_backend_sql.journal_schema import IS_WAITING, operation_waits, operations
from hokusai_core.journal import Claim, Settlement
from hokusai_core.operations import LogBatch

PROVIDES_NOTHING: str = LogBatch.model_fields["kind"].default
"""The kind of nearly all operations of a backlog; nothing ever waits for one."""


class Span(NamedTuple):
    """The first and the last sequence number of entries that follow each other in a claim."""

    first: int
    last: int


_DELIVER = (
    update(operations)
    .where(
        operations.c.stream == bindparam("of_stream"),
        operations.c.destination == bindparam("of_destination"),
        IS_WAITING,
        operations.c.sequence.between(bindparam("first"), bindparam("last")),
        operations.c.marked_by == bindparam("its_fence"),
    )
    .values(state="delivered", settled_at=bindparam("now", type_=Double), error="")
)

_FORGET_WAITS = delete(operation_waits).where(
    operation_waits.c.destination == bindparam("of_destination"),
    operation_waits.c.stream == bindparam("of_stream"),
    operation_waits.c.sequence.between(bindparam("first"), bindparam("last")),
)


def delivered_span(claim: Claim, settlements: Sequence[Settlement]) -> Span | None:
    """Give the span of batches that were delivered; None where two numbers do not say it all.

    They do where each entry of the claim between the first and the last is settled, and in order.
    Batches provide nothing, make nothing and have no content.
    """
    if not settlements:
        return None
    ids = [queued.op_id for queued in claim.operations]
    try:
        start = ids.index(settlements[0].op_id)
    except ValueError:
        return None
    members = claim.operations[start : start + len(settlements)]
    if len(members) < len(settlements):
        return None
    for queued, settlement in zip(members, settlements, strict=True):
        if (
            queued.op_id != settlement.op_id
            or queued.kind != PROVIDES_NOTHING
            or settlement.outcome != "delivered"
            or settlement.primary_id
        ):
            return None
    return Span(members[0].sequence, members[-1].sequence)


def deliver_span(connection: Connection, claim: Claim, span: Span, now: float) -> int:
    """Record that a span is delivered ``now``; gives how many of it waited. The stream is locked.

    What waits there and bears the claim's fence is of the span: an entry that a person discarded, or
    retried, meanwhile is not changed.
    """
    names = {
        "of_stream": claim.stream,
        "of_destination": claim.destination,
        "first": span.first,
        "last": span.last,
    }
    delivered = connection.execute(_DELIVER, names | {"its_fence": claim.fence, "now": now})
    connection.execute(_FORGET_WAITS, names)
    return delivered.rowcount
