"""Rows of the table of operations, as the values that the core knows."""

from pydantic import ValidationError

from hokusai_backend_sql.schema import AnyRow
from hokusai_core.journal import QueuedOperation
from hokusai_core.operations import AnyOperation, load_operation


def queued_operation(
    row: AnyRow, waiting_for: str = "", next_attempt_at: float | None = None
) -> QueuedOperation:
    """Give a row as a value; the operation is None where this release does not know its kind."""
    return QueuedOperation(
        sequence=row.sequence,
        op_id=row.op_id,
        kind=row.kind,
        stream=row.stream,
        destination=row.destination,
        state=row.state,
        stored=known_operation(row.payload),
        primary_id=row.primary_id,
        attempts=row.attempts,
        maybe_applied=row.maybe_applied or row.marked_by > 0,
        appended_at=row.appended_at,
        settled_at=row.settled_at,
        retried_at=row.retried_at,
        next_attempt_at=next_attempt_at,
        error=row.error,
        waiting_for=waiting_for,
    )


def known_operation(payload: str) -> AnyOperation | None:
    """Read a payload; None where this release does not know its kind, or it is damaged."""
    try:
        return load_operation(payload)
    except ValidationError:
        return None
