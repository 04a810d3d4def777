"""A single entry goes into a PostgreSQL journal by one statement: one round trip, commit included.

The statement does what :func:`hokusai_backend_sql.entries.append` does in five: it looks whether the
operation is known, counts it in its stream's row (which locks that until the commit, so that the order
of the sequence numbers is the order of commits), stores it, and notes what holds it back.
"""

from hokusai_backend_sql.schema import SCHEMA_NAME
from hokusai_core.journal import Entry

_NOW = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"

APPEND = f"""
WITH moment AS MATERIALIZED (SELECT {_NOW} AS now),
announced AS (
    INSERT INTO {SCHEMA_NAME}.streams AS known
        (stream, destination, waiting, ready_at, worker, waiting_for, error)
    SELECT %(stream)s, %(destination)s, 1, now, '', '', %(error)s FROM moment
    WHERE NOT EXISTS (SELECT FROM {SCHEMA_NAME}.operations WHERE op_id = %(op_id)s)
        AND NOT EXISTS (SELECT FROM {SCHEMA_NAME}.pruned_operations WHERE op_id = %(op_id)s)
    ON CONFLICT (stream, destination) DO UPDATE SET
        waiting = known.waiting + 1,
        ready_at = CASE WHEN known.waiting = 0 THEN excluded.ready_at ELSE known.ready_at END,
        held_for = CASE WHEN known.waiting = 0 THEN 0 ELSE known.held_for END,
        waiting_for = CASE WHEN known.waiting = 0 THEN '' ELSE known.waiting_for END,
        error = CASE WHEN known.waiting = 0 OR excluded.error <> '' THEN excluded.error
            ELSE known.error END
    RETURNING stream
),
stored AS (
    INSERT INTO {SCHEMA_NAME}.operations
        (op_id, kind, stream, destination, state, payload, late_effects_matter, primary_id,
         maybe_applied, not_before, unmarked_not_before, appended_at, error)
    SELECT %(op_id)s, %(kind)s, announced.stream, %(destination)s, 'waiting', %(payload)s,
        %(late_effects_matter)s, '', FALSE, now, now, now, %(error)s FROM announced, moment
    RETURNING sequence
),
held AS (
    INSERT INTO {SCHEMA_NAME}.operation_waits (sequence, key, hard, destination, stream)
    SELECT stored.sequence, needed.key, TRUE, %(destination)s, %(stream)s
    FROM stored, unnest(%(requires)s::text[]) AS needed (key)
    WHERE EXISTS (SELECT FROM {SCHEMA_NAME}.operation_keys AS provided
        WHERE provided.destination = %(destination)s AND provided.key = needed.key)
)
SELECT count(*) FROM stored
"""


def parameters(entry: Entry) -> dict[str, object]:
    """Give the parameters of :data:`APPEND`."""
    return {
        "op_id": entry.op_id,
        "kind": entry.kind,
        "stream": entry.stream,
        "destination": entry.destination,
        "payload": entry.payload,
        "late_effects_matter": entry.late_effects_matter,
        "error": entry.error,
        "requires": sorted(entry.requires),
    }
