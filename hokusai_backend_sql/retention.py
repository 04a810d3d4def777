"""What goes with time: settled entries, but never their ids."""

from sqlalchemy import Connection, and_, delete, exists, literal_column, select

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import operations, pruned_operations, streams
from hokusai_backend_sql.schema import database_now, insert_into
from hokusai_backend_sql.staging import remove_abandoned
from hokusai_core.operations import OPERATION_KINDS

_PRUNED_AT_ONCE = 1000
"""Entries that go in one transaction, so that none is long."""

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
    streams.c.dead > 0,
)
_earlier = operations.alias("earlier")
_after_retried = exists().where(
    _earlier.c.stream == operations.c.stream,
    _earlier.c.destination == operations.c.destination,
    _earlier.c.state == literal_column("'waiting'"),
    # Of a stream's waiting entries only few come before a settled one, whatever its backlog.
    _earlier.c.sequence < operations.c.sequence,
    _earlier.c.retried_at.is_not(None),
)
"""What was settled after a dead letter that waits again: its worker asks what was decided later."""


def prune(database: Database, retention_seconds: float) -> int:
    """Delete a bounded number of settled tracking entries; returns how many went."""
    pruned = 0
    remove_abandoned(database)
    while pruned < _MOST_PRUNED:
        with database.begin() as connection:
            count = _prune_some(connection, retention_seconds)
        pruned += count
        if count < _PRUNED_AT_ONCE:
            break
    return pruned


def _prune_some(connection: Connection, retention_seconds: float) -> int:
    now = select(database_now()).scalar_subquery()
    rows = connection.execute(
        select(operations.c.sequence, operations.c.op_id)
        .where(
            and_(
                operations.c.settled_at <= now - retention_seconds,
                operations.c.state.in_(("delivered", "discarded", "superseded")),
                # Joined to nothing, so that the index of kinds is not taken for it.
                operations.c.kind.concat("").in_(_TRACKING_KINDS),
                ~_has_dead,
                ~_after_retried,
            )
        )
        .order_by(operations.c.settled_at)
        .limit(_PRUNED_AT_ONCE)
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
