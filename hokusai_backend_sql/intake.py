"""Single entries of a journal go in by one small write, and are put in order later.

The table of operations has eight indexes and counts in the rows of streams, so that claims and figures
are cheap; a commit into it writes about ten pages. A training loop in an outage would pay that for
each metric. So a single entry goes into a table without indexes, durable when the call returns: here
that of a SQLite file, in :mod:`hokusai_backend_sql.postgresql_intake` that of a server. Whoever asks the
journal anything moves what is there into the table of operations first, in its order, in one
transaction: an entry is in exactly one of the two tables.
"""

import json
from functools import lru_cache

from sqlalchemy import Connection, text

from hokusai_backend_sql.keys import looked_up
from hokusai_backend_sql.stream_rows import StreamKey, recount_waiting
from hokusai_core.journal import Entry

MOVED_AT_ONCE = 250
"""Most entries that one transaction moves, so that it holds the file's write lock, and memory, only for
a moment."""

LONGEST_PAYLOAD = 100_000
"""Characters above which an entry does not go this way: what is moved is written twice."""

ADD = (
    "INSERT INTO intake (op_id, kind, stream, destination, payload, late_effects_matter, requires, "
    "error, appended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""The one statement of an append; it is a transaction of its own."""

FIRST = "SELECT min(number) FROM intake"
LAST = "SELECT max(number) FROM intake"

_LAST = text(
    "SELECT max(number), count(*) FROM (SELECT number FROM intake ORDER BY number LIMIT :most)"
)
_ANNOUNCE = text(
    "INSERT INTO streams (stream, destination, waiting, ready_at, worker, waiting_for, error) "
    "SELECT stream, destination, count(*), min(appended_at), '', '', max(error) FROM intake "
    "WHERE number <= :last GROUP BY stream, destination "
    "ON CONFLICT (stream, destination) DO UPDATE SET "
    "waiting = streams.waiting + excluded.waiting, "
    "ready_at = CASE WHEN streams.waiting = 0 THEN excluded.ready_at ELSE streams.ready_at END, "
    "held_for = CASE WHEN streams.waiting = 0 THEN 0 ELSE streams.held_for END, "
    "waiting_for = CASE WHEN streams.waiting = 0 THEN '' ELSE streams.waiting_for END, "
    "error = CASE WHEN streams.waiting = 0 OR excluded.error <> '' THEN excluded.error "
    "ELSE streams.error END"
)
_INSERT = text(
    "INSERT INTO operations (op_id, kind, stream, destination, state, payload, "
    "late_effects_matter, primary_id, maybe_applied, not_before, unmarked_not_before, appended_at, "
    "error) SELECT op_id, kind, stream, destination, 'waiting', payload, late_effects_matter, '', "
    "0, appended_at, appended_at, appended_at, error FROM intake WHERE number <= :last "
    "AND NOT EXISTS (SELECT 1 FROM pruned_operations WHERE pruned_operations.op_id = intake.op_id) "
    "ORDER BY number ON CONFLICT (op_id) DO NOTHING"
)
_STREAMS = text("SELECT DISTINCT stream, destination FROM intake WHERE number <= :last")
_INSERT_WAITS = text(
    "INSERT OR IGNORE INTO operation_waits (sequence, key, hard, destination, stream) "
    "SELECT operations.sequence, needed.value, 1, intake.destination, intake.stream "
    "FROM intake, json_each(intake.requires) AS needed "
    "JOIN operations ON operations.op_id = intake.op_id "
    "WHERE intake.number <= :last AND intake.requires <> '' AND EXISTS (SELECT 1 "
    "FROM operation_keys WHERE operation_keys.destination = intake.destination "
    "AND operation_keys.key = needed.value)"
)
_EMPTY = text("DELETE FROM intake WHERE number <= :last")


def row(entry: Entry) -> tuple[object, ...] | None:
    """Give the parameters of an append but the time; None where the entry is too large for this way."""
    payload = entry.payload
    if len(payload) > LONGEST_PAYLOAD:
        return None
    requires = entry.requires
    return (
        entry.op_id,
        entry.kind,
        entry.stream,
        entry.destination,
        payload,
        entry.late_effects_matter,
        _as_json(requires) if requires else "",
        entry.error,
    )


@lru_cache(maxsize=1024)
def _as_json(keys: frozenset[str]) -> str:
    return json.dumps(sorted(looked_up(keys)))


def move_some(connection: Connection) -> None:
    """Move the oldest entries into the table of operations, and count them in their streams."""
    last, count = connection.execute(_LAST, {"most": MOVED_AT_ONCE}).one()
    if not count:
        return
    up_to = {"last": last}
    connection.execute(_ANNOUNCE, up_to)
    if connection.execute(_INSERT, up_to).rowcount < count:
        # One of them was there already, contrary to what its caller said.
        recount_waiting(
            connection, {StreamKey(*row) for row in connection.execute(_STREAMS, up_to)}
        )
    connection.execute(_INSERT_WAITS, up_to)
    connection.execute(_EMPTY, up_to)
