"""What a person decides: let dead letters wait again, or discard."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select, update

from hokusai_backend_sql.journal_schema import operations, streams
from hokusai_backend_sql.lists import pair_of
from hokusai_backend_sql.schema import AnyRow, database_now
from hokusai_backend_sql.settling import forget_keys
from hokusai_backend_sql.stream_rows import (
    StreamKey,
    add_counts,
    lock_contents,
    lock_streams,
    streams_held_by,
    wake,
)


def retry(connection: Connection, op_ids: Sequence[str]) -> int:
    """Let dead letters wait again, in their old places; returns how many there were."""
    rows = _locked(connection, op_ids, ("dead",))
    if not rows:
        return 0
    connection.execute(
        update(operations)
        .where(operations.c.sequence.in_([row.sequence for row in rows]))
        .values(state="waiting", settled_at=None, retried_at=database_now())
    )
    counts = Counter(_keys(rows))
    add_counts(connection, {key: (count, -count) for key, count in counts.items()})
    connection.execute(
        update(streams)
        .where(pair_of(streams.c.stream, streams.c.destination, "names"))
        .values(ready_at=database_now(), held_for=0, waiting_for=""),
        {"names": sorted(counts)},
    )
    return len(rows)


def discard(connection: Connection, op_ids: Sequence[str]) -> int:
    """Discard dead or waiting operations; returns how many there were."""
    held = streams_held_by(connection, op_ids)
    lock_contents(connection, op_ids)
    rows = _locked(connection, op_ids, ("dead", "waiting"), held)
    if not rows:
        return 0
    connection.execute(
        update(operations)
        .where(operations.c.sequence.in_([row.sequence for row in rows]))
        .values(state="discarded", settled_at=database_now(), content_sha256=None)
    )
    forget_keys(connection, rows)
    waiting = Counter(_keys(row for row in rows if row.state == "waiting"))
    dead = Counter(_keys(row for row in rows if row.state == "dead"))
    add_counts(
        connection, {key: (-waiting[key], -dead[key]) for key in waiting.keys() | dead.keys()}
    )
    wake(connection, held)
    return len(rows)


def _locked(
    connection: Connection,
    op_ids: Sequence[str],
    states: Sequence[str],
    others: Iterable[StreamKey] = (),
) -> Sequence[AnyRow]:
    """Lock the streams of these operations, then read those that are in one of the states."""
    wanted = operations.c.op_id.in_(op_ids)
    found = connection.execute(select(operations.c.stream, operations.c.destination).where(wanted))
    lock_streams(connection, {*_keys(found), *others})
    return connection.execute(
        select(operations).where(wanted, operations.c.state.in_(states))
    ).all()


def _keys(rows: Iterable[AnyRow]) -> list[StreamKey]:
    return [StreamKey(row.stream, row.destination) for row in rows]
