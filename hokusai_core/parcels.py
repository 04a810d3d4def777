"""Which waiting operations a worker sends next, and which of them in one request."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from hokusai_core.batching import coalesce
from hokusai_core.journal import QueuedOperation
from hokusai_core.operations import AnyOperation, CreateRegisteredModel, LogBatch

_BATCH: str = LogBatch.model_fields["kind"].default

_SINGLE_AFTER_ATTEMPTS = 3
"""Failed attempts after which an operation is sent alone, so that it holds back no other."""


@dataclass(frozen=True)
class Parcel:
    """What is sent in one request: one operation, or several joined."""

    operation: AnyOperation
    members: tuple[QueuedOperation, ...]


def first_parcels(entries: Sequence[QueuedOperation]) -> Iterator[Parcel]:
    """Give what is sent first of a claim.

    Args:
        entries: What is left of it, in order; at least one, and all of kinds that are known.

    Returns:
        The batches at the beginning, joined to as few requests as the limits allow; or else the
        first operation alone, with those that ask for the same thing again. Nothing where the first
        entry is damaged.
    """
    batches = _batches_at_the_beginning(entries)
    if not batches:
        yield Parcel(cast("AnyOperation", entries[0].operation), _repeats(entries))
        return
    start = 0
    # One at a time, as each is read from its text: so few are in memory.
    sound = itertools.takewhile(lambda one: one is not None, (one.operation for one in batches))
    for joined in coalesce(cast("Iterator[LogBatch]", sound)):
        yield Parcel(joined.operation, tuple(batches[start : start + joined.count]))
        start += joined.count


def creations_first(entries: Sequence[QueuedOperation]) -> list[QueuedOperation]:
    """Give creations before the rest, each in its order.

    What names a creation can have come to the journal before it: the creation was on the spool of
    another process. In its place it would wait for ever behind what waits for it.
    """
    return sorted(entries, key=lambda entry: not _makes_something(entry))


def _batches_at_the_beginning(entries: Sequence[QueuedOperation]) -> list[QueuedOperation]:
    found: list[QueuedOperation] = []
    for entry in entries:
        alone = entry.attempts >= _SINGLE_AFTER_ATTEMPTS
        if entry.kind != _BATCH or (alone and found):
            break
        found.append(entry)
        if alone:
            break
    return found


def _repeats(entries: Sequence[QueuedOperation]) -> tuple[QueuedOperation, ...]:
    """Give the first entry, with those after it that ask for the same registered model again.

    Each registration of a version begins with getting or creating its model: once is enough.
    """
    first = entries[0].operation
    alone = entries[0].attempts >= _SINGLE_AFTER_ATTEMPTS
    if alone or not isinstance(first, CreateRegisteredModel):
        return (entries[0],)
    wanted = first.model_dump(exclude={"op_id", "created_at"})
    return tuple(
        itertools.takewhile(
            lambda entry: (
                isinstance(entry.operation, CreateRegisteredModel)
                and entry.operation.model_dump(exclude={"op_id", "created_at"}) == wanted
            ),
            entries,
        )
    )


def _makes_something(entry: QueuedOperation) -> bool:
    if entry.kind == _BATCH:
        return False
    operation = entry.operation
    return isinstance(operation, CreateRegisteredModel) or (
        operation is not None and operation.creates is not None
    )
