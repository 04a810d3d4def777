"""What goes with time: settled entries, but never their ids."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, exists, or_, select

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import (
    HAS_DEAD,
    WAITING,
    operations,
    pruned_operations,
    streams,
)
from hokusai_backend_sql.schema import database_now, insert_into
from hokusai_backend_sql.staging import remove_abandoned
from hokusai_core.operations import OPERATION_KINDS

_READ_AT_ONCE = 1000
"""Entries that are read, and those of them that go, in one transaction, so that none is long."""

_MOST_PRUNED = 20_000
"""Entries that go in one call, so that it ends soon whatever has piled up."""

_TRACKING_KINDS = [
    kind.model_fields["kind"].default
    for kind in OPERATION_KINDS
    if kind.specification == "tracking"
]

_has_dead = exists().where(
    streams.c.stream == operations.c.stream,
    streams.c.destination == operations.c.destination,
    HAS_DEAD,
)
_earlier = operations.alias("earlier")
_after_retried = exists().where(
    _earlier.c.stream == operations.c.stream,
    _earlier.c.destination == operations.c.destination,
    _earlier.c.state == WAITING,
    # Of a stream's waiting entries only few come before a settled one, whatever its backlog.
    _earlier.c.sequence < operations.c.sequence,
    _earlier.c.retried_at.is_not(None),
)
"""What was settled after a dead letter that waits again: its worker asks what was decided later."""


_BEGINNING = (0.0, 0)


class _Settled(NamedTuple):
    """An old entry: its place, and whether it may go."""

    settled_at: float
    sequence: int
    goes: bool


_MAY_GO = and_(
    operations.c.state.in_(("delivered", "discarded", "superseded")),
    operations.c.kind.in_(_TRACKING_KINDS),
    ~_has_dead,
    ~_after_retried,
)

_PAGE = (
    select(operations.c.settled_at, operations.c.sequence, _MAY_GO.label("goes"))
    .where(
        operations.c.settled_at <= bindparam("before"),
        operations.c.settled_at >= bindparam("after_time"),
        or_(
            operations.c.settled_at > bindparam("after_time"),
            operations.c.sequence > bindparam("after_sequence"),
        ),
    )
    .order_by(operations.c.settled_at, operations.c.sequence)
    .limit(_READ_AT_ONCE)
)


def prune(database: Database, retention_seconds: float) -> int:
    """Delete a bounded number of settled tracking entries; returns how many went."""
    remove_abandoned(database)
    with database.connect() as connection:
        before = (connection.scalar(select(database_now())) or 0.0) - retention_seconds
    pruned, place = 0, _BEGINNING
    while pruned < _MOST_PRUNED:
        page = _read_page(database, before, place)
        old = [settled.sequence for settled in page if settled.goes]
        if old:
            with database.begin() as connection:
                pruned += _prune_some(connection, old)
        if len(page) < _READ_AT_ONCE:
            break
        place = (page[-1].settled_at, page[-1].sequence)
    return pruned


def _read_page(database: Database, before: float, place: tuple[float, int]) -> list[_Settled]:
    """Read what was settled next after a place. No lock is held, however much of it has to stay."""
    names = {"before": before, "after_time": place[0], "after_sequence": place[1]}
    with database.connect() as connection:
        return [_Settled(*row) for row in connection.execute(_PAGE, names)]


def _prune_some(connection: Connection, old: Sequence[int]) -> int:
    rows = connection.execute(
        select(operations.c.sequence, operations.c.op_id)
        .where(operations.c.sequence.in_(old), _MAY_GO)
        .with_for_update(skip_locked=True, of=operations)
    ).all()
    if not rows:
        return 0
    connection.execute(
        insert_into(connection, pruned_operations).on_conflict_do_nothing(),
        [{"op_id": row.op_id} for row in rows],
    )
    connection.execute(
        delete(operations).where(operations.c.sequence.in_([row.sequence for row in rows]))
    )
    return len(rows)
