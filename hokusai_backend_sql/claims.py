"""A worker takes the stream that is due first."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Integer,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    true,
    update,
)

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.entry_rows import known_operation
from hokusai_backend_sql.journal_schema import (
    DEAD,
    HAS_WAITING,
    IS_WAITING,
    WAITING,
    operation_keys,
    operation_waits,
    operations,
    streams,
)
from hokusai_backend_sql.schema import AnyRow, database_now
from hokusai_backend_sql.spans import PROVIDES_NOTHING
from hokusai_core.journal import Claim, ClaimRequest, QueuedOperation
from hokusai_core.operations import begins_as_known_batch

_LOOKS_PER_TRANSACTION = 20
"""Streams that are looked at in one transaction, so that none is long."""

_CHARACTERS, _CHARACTERS_PER_ENTRY = 2_000_000, 400
"""What the payloads of a claim hold at most, and more where more than usual is asked for: a claim of
batches of a thousand metrics is a few of them, so that the memory of a worker is bounded."""

_LATE_EFFECTS = 1_000
"""Most operations of a claim whose late effects matter: these are put off anew with each settlement."""

_FIRST_HOLD, _LONGEST_HOLD = 0.1, 5.0
"""Seconds until a stream that is held back is looked at again, if nothing wakes it before."""

_HOLD_BY_DEAD = 60.0
"""Seconds likewise where a dead letter holds it back: what a person decides on that wakes the stream."""


# The statements of each claim are built once: building them takes longer than running them.

_OF_STREAM = (
    operations.c.stream == bindparam("of_stream"),
    operations.c.destination == bindparam("of_destination"),
    IS_WAITING,
)
_THE_STREAM = (
    streams.c.stream == bindparam("of_stream"),
    streams.c.destination == bindparam("of_destination"),
)

_NOW = select(database_now()).scalar_subquery()
_DUE_BY = select(func.coalesce(bindparam("due_by", type_=Double), database_now())).scalar_subquery()

_FIRST_DUE = (
    select(streams, database_now().label("now"))
    .where(
        streams.c.destination == bindparam("of_destination"),
        HAS_WAITING,
        streams.c.ready_at <= _DUE_BY,
        or_(streams.c.lease_until.is_(None), streams.c.lease_until <= _NOW),
    )
    .order_by(streams.c.ready_at, streams.c.stream)
    .limit(1)
    .with_for_update(skip_locked=True)
)

_FIRST_SEQUENCE = (
    select(operations.c.sequence).where(*_OF_STREAM).order_by(operations.c.sequence).limit(1)
)

_first = (
    select(operations.c.sequence, func.length(operations.c.payload).label("size"))
    .where(*_OF_STREAM)
    .order_by(operations.c.sequence)
    .limit(bindparam("most", type_=Integer))
    .subquery("first")
)
_sized = select(
    _first.c.sequence,
    func.sum(_first.c.size).over(order_by=_first.c.sequence, rows=(None, -1)).label("before"),
).subquery("sized")
_WAITING = (
    select(
        operations.c.sequence,
        operations.c.op_id,
        operations.c.kind,
        operations.c.payload,
        operations.c.late_effects_matter,
        operations.c.attempts,
        or_(operations.c.maybe_applied, operations.c.marked_by > 0).label("maybe_applied"),
        operations.c.not_before,
        operations.c.appended_at,
        operations.c.retried_at,
        operations.c.error,
    )
    .where(
        *_OF_STREAM,
        operations.c.sequence
        <= select(func.max(_sized.c.sequence))
        .where(func.coalesce(_sized.c.before, 0) < bindparam("most_characters", type_=BigInteger))
        .scalar_subquery(),
    )
    .order_by(operations.c.sequence)
)
"""The first entries of the stream, as many as may be handed out and held in memory at once."""

_provider = operations.alias("provider")
_FIRST_HELD = (
    select(operation_waits.c.sequence, operation_waits.c.key, _provider.c.state)
    .join(operations, operations.c.sequence == operation_waits.c.sequence)
    .join(
        operation_keys,
        and_(
            operation_keys.c.destination == operation_waits.c.destination,
            operation_keys.c.key == operation_waits.c.key,
            operation_keys.c.sequence < operation_waits.c.sequence,
        ),
    )
    .join(_provider, _provider.c.sequence == operation_keys.c.sequence)
    .where(
        operation_waits.c.destination == bindparam("of_destination"),
        operation_waits.c.stream == bindparam("of_stream"),
        operation_waits.c.sequence <= bindparam("last"),
        IS_WAITING,
        or_(
            and_(operation_waits.c.hard == true(), _provider.c.state == DEAD),
            and_(_provider.c.state == WAITING, _provider.c.stream != bindparam("of_stream")),
        ),
    )
    .order_by(operation_waits.c.sequence, operation_waits.c.key, _provider.c.state)
    .limit(1)
)

_TAKE = (
    update(streams)
    .where(*_THE_STREAM)
    .values(
        fence=bindparam("new_fence"),
        worker=bindparam("new_worker"),
        lease_until=bindparam("end"),
        late_effect_seconds=bindparam("window"),
        held_for=0,
        waiting_for="",
    )
)

_MARK = (
    update(operations)
    .where(*_OF_STREAM, operations.c.sequence <= bindparam("last"))
    .values(
        maybe_applied=or_(operations.c.maybe_applied, operations.c.marked_by > 0),
        marked_by=bindparam("new_fence"),
        unmarked_not_before=operations.c.not_before,
        not_before=case(
            (operations.c.late_effects_matter == true(), bindparam("window_end", type_=Double)),
            else_=operations.c.not_before,
        ),
    )
)

_HOLD = (
    update(streams)
    .where(*_THE_STREAM)
    .values(
        ready_at=bindparam("look_at"),
        waiting_for=bindparam("held_by"),
        held_for=bindparam("pause"),
    )
)


def claim(database: Database, request: ClaimRequest) -> tuple[Claim, ...]:
    """Claim the stream that is due first; () where none is.

    Of those that were due at the beginning: streams that are held back fall due again all the time.
    """
    due_by: float | None = None
    while True:
        if database.is_sqlite and not _any_due(database, request.destination, due_by):
            return ()
        with database.begin(synced=True) as connection:
            for _ in range(_LOOKS_PER_TRANSACTION):
                stream = _first_due(connection, request.destination, due_by)
                if stream is None:
                    return ()
                due_by = due_by or stream.now
                claimed = _claim(connection, stream, request)
                if claimed is not None:
                    break
        if claimed is not None:
            return (claimed,)


def _any_due(database: Database, destination: str, due_by: float | None) -> bool:
    """Look before the file's only write lock is taken, so that idle workers hold up nobody."""
    with database.connect() as connection:
        return _first_due(connection, destination, due_by) is not None


def _first_due(connection: Connection, destination: str, due_by: float | None) -> AnyRow | None:
    """Lock the stream that is due first, past those that are being claimed at this moment."""
    names = {"of_destination": destination, "due_by": due_by}
    return connection.execute(_FIRST_DUE, names).one_or_none()


def _claim(connection: Connection, stream: AnyRow, request: ClaimRequest) -> Claim | None:
    """Claim a locked stream; None where its first operation is held back, which is noted."""
    if stream.held_for and not request.ignore_waits:
        # Before the payloads are read: most streams that were held back are so still.
        first = connection.scalar(_FIRST_SEQUENCE, _names(stream))
        held = None if first is None else _first_held(connection, stream, first)
        if held is not None:
            _hold_back(connection, stream, held)
            return None
    characters = max(_CHARACTERS, request.limit * _CHARACTERS_PER_ENTRY)
    sizes = {"most": request.limit, "most_characters": characters}
    rows = connection.execute(_WAITING, _names(stream) | sizes).all()
    if not rows:
        _hold(connection, stream, ready_at=stream.now + _LONGEST_HOLD, waiting_for="")
        return None
    if rows[0].not_before > stream.now:
        _hold(connection, stream, ready_at=rows[0].not_before, waiting_for="")
        return None
    held = None if request.ignore_waits else _first_held(connection, stream, rows[-1].sequence)
    if held is not None and held.sequence == rows[0].sequence:
        _hold_back(connection, stream, held)
        return None
    handed_out = _until_first_obstacle(rows, stream, held)
    if not handed_out:
        _look_again_later(connection, stream, f"a release that knows {rows[0].kind!r}")
        return None
    fence = stream.fence + 1
    lease_until = stream.now + request.lease_seconds
    connection.execute(
        _TAKE,
        _names(stream)
        | {
            "new_fence": fence,
            "new_worker": request.worker,
            "end": lease_until,
            "window": request.late_effect_seconds,
        },
    )
    connection.execute(
        _MARK,
        _names(stream)
        | {
            "new_fence": fence,
            "last": handed_out[-1].sequence,
            "window_end": lease_until + request.late_effect_seconds,
        },
    )
    return Claim(
        stream=stream.stream,
        destination=stream.destination,
        worker=request.worker,
        fence=fence,
        lease_seconds=request.lease_seconds,
        operations=tuple(handed_out),
    )


def _until_first_obstacle(
    rows: Sequence[AnyRow], stream: AnyRow, held: AnyRow | None
) -> list[QueuedOperation]:
    name, destination, now = stream.stream, stream.destination, stream.now
    handed_out = []
    late_effects = 0
    for (
        sequence,
        op_id,
        kind,
        payload,
        late_effects_matter,
        attempts,
        maybe_applied,
        not_before,
        appended_at,
        retried_at,
        error,
    ) in rows:
        if not_before > now or (held is not None and sequence >= held.sequence):
            break
        # Of batches only the text is kept: thousands of objects that wait for their turn would keep
        # the garbage collector busy.
        only_text = kind == PROVIDES_NOTHING and not late_effects_matter and retried_at is None
        known = only_text and begins_as_known_batch(payload)
        stored = payload if known else known_operation(payload)
        late_effects += late_effects_matter
        if stored is None or late_effects > _LATE_EFFECTS:
            break
        handed_out.append(
            QueuedOperation(
                sequence=sequence,
                op_id=op_id,
                kind=kind,
                stream=name,
                destination=destination,
                state="waiting",
                stored=stored,
                attempts=attempts,
                maybe_applied=maybe_applied,
                appended_at=appended_at,
                retried_at=retried_at,
                error=error,
            )
        )
    return handed_out


def _first_held(connection: Connection, stream: AnyRow, last: int) -> AnyRow | None:
    """Find the stream's first waiting operation that a key holds back, and that key.

    Waiting operations of the same stream hold nothing back: they come first anyway, and their
    failure ends the batch. A dead one does.
    """
    return connection.execute(_FIRST_HELD, _names(stream) | {"last": last}).one_or_none()


def _hold_back(connection: Connection, stream: AnyRow, held: AnyRow) -> None:
    """Leave the stream until what holds it back is settled, which wakes it."""
    if held.state == "dead":
        _hold(
            connection,
            stream,
            ready_at=stream.now + _HOLD_BY_DEAD,
            waiting_for=held.key,
            held_for=_HOLD_BY_DEAD,
        )
    else:
        _look_again_later(connection, stream, held.key)


def _look_again_later(connection: Connection, stream: AnyRow, waiting_for: str) -> None:
    """Look at the stream again later, and later each time."""
    held_for = min(max(stream.held_for * 2, _FIRST_HOLD), _LONGEST_HOLD)
    _hold(
        connection,
        stream,
        ready_at=stream.now + held_for,
        waiting_for=waiting_for,
        held_for=held_for,
    )


def _hold(
    connection: Connection,
    stream: AnyRow,
    *,
    ready_at: float,
    waiting_for: str,
    held_for: float = 0.0,
) -> None:
    connection.execute(
        _HOLD,
        _names(stream) | {"look_at": ready_at, "held_by": waiting_for, "pause": held_for},
    )


def _names(stream: AnyRow) -> dict[str, Any]:
    return {"of_stream": stream.stream, "of_destination": stream.destination}
