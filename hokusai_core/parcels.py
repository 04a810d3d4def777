"""Which waiting operations a worker sends next, and which of them in one request."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from hokusai_core.batching import coalesce
from hokusai_core.journal import QueuedOperation
from hokusai_core.operations import AnyOperation, CreateRegisteredModel, LogBatch

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
        first operation alone, with those that ask for the same thing again.
    """
    batches = _batches_at_the_beginning(entries)
    if not batches:
        yield Parcel(cast("AnyOperation", entries[0].operation), _repeats(entries))
        return
    for joined in coalesce([batch for batch, _ in batches.values()]):
        yield Parcel(
            joined.operation if len(joined.members) > 1 else joined.members[0],
            tuple(batches[batch.op_id][1] for batch in joined.members),
        )


def creations_first(entries: Sequence[QueuedOperation]) -> list[QueuedOperation]:
    """Give creations before the rest, each in its order.

    What names a creation can have come to the journal before it: the creation was on the spool of
    another process. In its place it would wait for ever behind what waits for it.
    """
    return sorted(entries, key=lambda entry: not _makes_something(entry.operation))


def _batches_at_the_beginning(
    entries: Sequence[QueuedOperation],
) -> dict[str, tuple[LogBatch, QueuedOperation]]:
    found: dict[str, tuple[LogBatch, QueuedOperation]] = {}
    for entry in entries:
        alone = entry.attempts >= _SINGLE_AFTER_ATTEMPTS
        if not isinstance(entry.operation, LogBatch) or (alone and found):
            break
        found[entry.op_id] = (entry.operation, entry)
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


def _makes_something(operation: AnyOperation | None) -> bool:
    return isinstance(operation, CreateRegisteredModel) or (
        operation is not None and operation.creates is not None
    )
