"""The intake of a PostgreSQL journal: an append is one small insert, and one statement moves many.

A row in the table of operations costs eight indexes, a row of its stream, and what it waits for; in the
intake it costs none of these, so an append takes little longer than the server's sync of the disk.

An entry that was stored before another one was begun has the smaller number, so what is moved by number
keeps the order of each process. The rows of streams are locked before the sequence numbers are given,
so that the order of these is that of commits.
"""

from sqlalchemy import Connection, text

from hokusai_backend_sql.schema import SCHEMA_NAME
from hokusai_backend_sql.stream_rows import StreamKey, recount_waiting

MOVED_AT_ONCE = 1000
"""Most entries that one transaction moves."""

ADD = (
    f"INSERT INTO {SCHEMA_NAME}.intake (op_id, kind, stream, destination, payload, "
    "late_effects_matter, requires, error, appended_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, "
    "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION))"
)
"""The one statement of an append, committed in its one round trip."""

FIRST = f"SELECT min(number) FROM {SCHEMA_NAME}.intake"
LAST = f"SELECT max(number) FROM {SCHEMA_NAME}.intake"

_ALONE = text(f"SELECT pg_advisory_xact_lock({0x696E74616B65})")  # the bytes of "intake"
"""Two that delete the same rows in different orders would wait for each other for ever."""

_MOVE = text(f"""
WITH taken AS (
    DELETE FROM {SCHEMA_NAME}.intake
    WHERE number IN (SELECT number FROM {SCHEMA_NAME}.intake ORDER BY number LIMIT {MOVED_AT_ONCE})
    RETURNING *
),
new AS (
    SELECT * FROM taken
    WHERE NOT EXISTS (SELECT FROM {SCHEMA_NAME}.operations AS known WHERE known.op_id = taken.op_id)
        AND NOT EXISTS
            (SELECT FROM {SCHEMA_NAME}.pruned_operations AS known WHERE known.op_id = taken.op_id)
),
announced AS (
    INSERT INTO {SCHEMA_NAME}.streams AS known
        (stream, destination, waiting, ready_at, worker, waiting_for, error)
    SELECT stream, destination, count(*), min(appended_at), '', '', max(error) FROM new
    GROUP BY stream, destination ORDER BY stream COLLATE "C", destination COLLATE "C"
    ON CONFLICT (stream, destination) DO UPDATE SET
        waiting = known.waiting + excluded.waiting,
        ready_at = CASE WHEN known.waiting = 0 THEN excluded.ready_at ELSE known.ready_at END,
        held_for = CASE WHEN known.waiting = 0 THEN 0 ELSE known.held_for END,
        waiting_for = CASE WHEN known.waiting = 0 THEN '' ELSE known.waiting_for END,
        error = CASE WHEN known.waiting = 0 OR excluded.error <> '' THEN excluded.error
            ELSE known.error END
    RETURNING stream, destination
),
stored AS (
    INSERT INTO {SCHEMA_NAME}.operations
        (op_id, kind, stream, destination, state, payload, late_effects_matter, primary_id,
         maybe_applied, not_before, unmarked_not_before, appended_at, error)
    SELECT op_id, kind, stream, destination, 'waiting', payload, late_effects_matter, '', FALSE,
        appended_at, appended_at, appended_at, error
    FROM new JOIN announced USING (stream, destination) ORDER BY number
    ON CONFLICT (op_id) DO NOTHING
    RETURNING sequence, op_id
),
held AS (
    INSERT INTO {SCHEMA_NAME}.operation_waits (sequence, key, hard, destination, stream)
    SELECT stored.sequence, needed.key, TRUE, new.destination, new.stream
    FROM stored JOIN new USING (op_id),
        jsonb_array_elements_text(CAST(new.requires AS jsonb)) AS needed (key)
    WHERE new.requires <> '' AND EXISTS (SELECT FROM {SCHEMA_NAME}.operation_keys AS provided
        WHERE provided.destination = new.destination AND provided.key = needed.key)
)
SELECT (SELECT count(*) FROM stored) AS stored, stream, destination, count(*) AS counted
FROM new GROUP BY stream, destination
""")


def move_some(connection: Connection) -> None:
    """Move the oldest entries into the table of operations, and count them in their streams."""
    connection.execute(_ALONE)
    rows = connection.execute(_MOVE).all()
    if rows and rows[0].stored < sum(row.counted for row in rows):
        # One of them was there already, contrary to what its caller said.
        recount_waiting(connection, {StreamKey(row.stream, row.destination) for row in rows})
