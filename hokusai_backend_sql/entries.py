"""Entries go in: appended to wait, or noted as what the primary has already."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    Executable,
    String,
    and_,
    case,
    cast,
    insert,
    literal,
    or_,
    select,
    union_all,
)

from hokusai_backend_sql import id_mapping
from hokusai_backend_sql.content import Digest, Staged, drop_reference, store_content
from hokusai_backend_sql.journal_schema import (
    ZERO,
    operation_keys,
    operation_waits,
    operations,
    pruned_operations,
    streams,
)
from hokusai_backend_sql.keys import looked_up, stored_key
from hokusai_backend_sql.lists import one_of
from hokusai_backend_sql.schema import (
    DialectInsert,
    database_now,
    in_each_dialect,
    insert_into,
)
from hokusai_backend_sql.stream_rows import STATEMENT_VALUES, StreamKey, recount_waiting
from hokusai_core.errors import InvalidInputError
from hokusai_core.hookspecs import OpenContent
from hokusai_core.journal import Entry
from hokusai_core.operations import LogArtifact, Operation, dump_operation

_READY_STEP = 1e-6
"""Seconds between streams that become ready together, so that they keep the entries' order."""

# The statements of each append are built once: building them takes longer than running them.

_KNOWN = union_all(
    select(operations.c.op_id, literal(0.0, Double)).where(one_of(operations.c.op_id, "op_ids")),
    select(pruned_operations.c.op_id, literal(0.0, Double)).where(
        one_of(pruned_operations.c.op_id, "op_ids")
    ),
    select(cast("", String), database_now()),
)


def _announcing(statement: DialectInsert) -> DialectInsert:
    new, idle = statement.excluded, streams.c.waiting == ZERO
    return statement.on_conflict_do_update(
        index_elements=[streams.c.stream, streams.c.destination],
        set_={
            "waiting": streams.c.waiting + new.waiting,
            "ready_at": case((idle, new.ready_at), else_=streams.c.ready_at),
            "held_for": case((idle, 0.0), else_=streams.c.held_for),
            "waiting_for": case((idle, ""), else_=streams.c.waiting_for),
            "error": case((or_(idle, new.error != ""), new.error), else_=streams.c.error),
        },
    )


def _inserting(statement: DialectInsert) -> Executable:
    return statement.on_conflict_do_nothing(index_elements=[operations.c.op_id]).returning(
        operations.c.op_id, operations.c.sequence
    )


_ANNOUNCE = in_each_dialect(streams, _announcing)
_INSERT = in_each_dialect(operations, _inserting)


def append(
    connection: Connection,
    entries: Sequence[Entry],
    open_content: OpenContent | None,
    digest: Digest | None,
    *,
    staged: Staged = (),
) -> int:
    """Store the entries whose ``op_id`` is new, in order; returns how many these are.

    Args:
        connection: A write transaction.
        entries: What to store.
        open_content: Opens the bytes of the single entry, where that is an artifact.
        digest: SHA-256 and size of these bytes.
        staged: SHA-256 of their chunks, where these are stored already.

    """
    unique = list({entry.operation.op_id: entry for entry in entries}.values())
    known, now = _known(connection, [entry.operation.op_id for entry in unique])
    fresh = [entry for entry in unique if entry.operation.op_id not in known]
    if not fresh:
        return 0
    content = _store(connection, fresh, open_content, digest, staged=staged)
    _announce(connection, fresh, now)
    sequences = _insert(connection, fresh, now, content)
    if len(sequences) < len(fresh):
        # Somebody else appended the same operation between our look and our insert.
        recount_waiting(connection, {_key(entry) for entry in fresh})
        if content is not None and not sequences:
            drop_reference(connection, content)
        fresh = [entry for entry in fresh if entry.operation.op_id in sequences]
    _insert_keys(connection, fresh, sequences)
    return len(fresh)


def note(connection: Connection, operation: Operation, destination: str, primary_id: str) -> bool:
    """Store an operation that the primary has already, with its mapping; says whether it is new."""
    known, now = _known(connection, [operation.op_id])
    if known:
        return False
    row = _row(operation, destination) | {
        "state": "delivered",
        "primary_id": primary_id,
        "appended_at": now,
        "settled_at": now,
        "not_before": now,
        "unmarked_not_before": now,
        "maybe_applied": False,
        "error": "",
        "content_sha256": None,
    }
    inserted = connection.execute(
        insert_into(connection, operations)
        .on_conflict_do_nothing()
        .values(row)
        .returning(operations.c.sequence)
    ).first()
    if inserted is None:
        return False
    mapping = id_mapping.Mapping(operation.op_id, operation.kind, destination, primary_id)
    id_mapping.remember(connection, [mapping])
    return True


def _known(connection: Connection, op_ids: Sequence[str]) -> tuple[set[str], float]:
    """Find which operations are known, pruned ones included, and the database's time.

    One statement sees an entry before or after it is pruned, never in between.
    """
    known: set[str] = set()
    now = 0.0
    for start in range(0, len(op_ids), STATEMENT_VALUES):
        part = op_ids[start : start + STATEMENT_VALUES]
        for op_id, time in connection.execute(_KNOWN, {"op_ids": part}):
            if op_id:
                known.add(op_id)
            else:
                now = time
    return known, now


def _store(
    connection: Connection,
    fresh: Sequence[Entry],
    open_content: OpenContent | None,
    digest: Digest | None,
    *,
    staged: Staged,
) -> str | None:
    if open_content is None or not isinstance(fresh[0].operation, LogArtifact):
        return None
    stored = store_content(connection, open_content, digest, staged=staged)
    if stored != (fresh[0].operation.sha256, fresh[0].operation.size):
        raise InvalidInputError(
            f"Artifact {fresh[0].operation.path!r} changed while it was being stored. Log it again "
            "once it is complete."
        )
    return stored[0]


def _announce(connection: Connection, fresh: Iterable[Entry], now: float) -> None:
    """Count the entries in their streams' rows, which locks these until the commit.

    So the sequence order within a stream is the order of commits.
    """
    rows: dict[StreamKey, dict[str, Any]] = {}
    for entry in fresh:
        key = _key(entry)
        row = rows.setdefault(
            key,
            {
                **key._asdict(),
                "waiting": 0,
                "ready_at": now + entry.not_before + len(rows) * _READY_STEP,
                "error": "",
            },
        )
        row["waiting"] += 1
        row["error"] = entry.error or row["error"]
    connection.execute(_ANNOUNCE[connection.dialect.name], [rows[key] for key in sorted(rows)])


def _insert(
    connection: Connection, fresh: Sequence[Entry], now: float, content_sha256: str | None
) -> dict[str, int]:
    rows = [
        _row(entry.operation, entry.destination)
        | {
            "state": "waiting",
            "maybe_applied": entry.maybe_applied,
            "not_before": now + entry.not_before,
            "unmarked_not_before": now + entry.not_before,
            "appended_at": now,
            "error": entry.error,
            "content_sha256": content_sha256,
        }
        for entry in fresh
    ]
    inserted = connection.execute(_INSERT[connection.dialect.name], rows)
    return {row.op_id: row.sequence for row in inserted}


def _insert_keys(connection: Connection, fresh: Sequence[Entry], sequences: dict[str, int]) -> None:
    provided = _provided(connection, fresh)
    keys: list[dict[str, Any]] = []
    waits: list[dict[str, Any]] = []
    for entry in fresh:
        operation, destination = entry.operation, entry.destination
        sequence = sequences[operation.op_id]
        for needed, hard in ((operation.requires, True), (operation.after, False)):
            waits += (
                {
                    "sequence": sequence,
                    "key": key,
                    "hard": hard,
                    "destination": destination,
                    "stream": operation.stream,
                }
                for key in sorted(looked_up(needed))
                if (destination, key) in provided
            )
        for key in sorted({stored_key(key) for key in operation.provides}):
            provided.add((destination, key))
            keys.append({"destination": destination, "key": key, "sequence": sequence})
    if keys:
        connection.execute(insert(operation_keys), keys)
    if waits:
        connection.execute(insert(operation_waits), waits)


def _provided(connection: Connection, fresh: Iterable[Entry]) -> set[tuple[str, str]]:
    """Of the keys that the entries need, those that a waiting or dead entry provides."""
    needed: dict[str, set[str]] = {}
    for entry in fresh:
        keys = entry.operation.requires | entry.operation.after
        if keys:
            needed.setdefault(entry.destination, set()).update(looked_up(keys))
    provided: set[tuple[str, str]] = set()
    for destination, wanted in needed.items():
        ordered = sorted(wanted)
        for start in range(0, len(ordered), STATEMENT_VALUES):
            part = ordered[start : start + STATEMENT_VALUES]
            rows = connection.execute(
                select(operation_keys.c.destination, operation_keys.c.key)
                .distinct()
                .where(
                    and_(
                        operation_keys.c.destination == destination,
                        operation_keys.c.key.in_(part),
                    )
                )
            )
            provided.update((row.destination, row.key) for row in rows)
    return provided


def _row(operation: Operation, destination: str) -> dict[str, Any]:
    return {
        "op_id": operation.op_id,
        "kind": operation.kind,
        "stream": operation.stream,
        "destination": destination,
        "payload": dump_operation(operation),
        "late_effects_matter": operation.late_effects_matter,
    }


def _key(entry: Entry) -> StreamKey:
    return StreamKey(entry.operation.stream, entry.destination)
