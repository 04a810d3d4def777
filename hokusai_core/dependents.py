"""Finds what cannot be delivered without an operation: in the journal, and in the spool."""

from collections.abc import Iterable, Iterator, Sequence

from hokusai_core.hookspecs import Journal
from hokusai_core.journal import EntryQuery, EntryState, QueuedOperation

OPEN: tuple[EntryState, ...] = ("waiting", "dead")
"""The states from which an operation may still be delivered."""

Found = list[tuple[Journal, tuple[QueuedOperation, ...]]]
"""Entries by the journal that holds them."""

_PAGE = 1000

_Keys = dict[str, set[str]]
"""What is provided, by destination."""


def pages(journal: Journal, query: EntryQuery) -> Iterator[tuple[QueuedOperation, ...]]:
    """Give all entries of a selection, a page of ``query.limit`` at a time."""
    after = query.after
    while page := journal.journal_read(query.model_copy(update={"after": after})):
        yield page
        after = page[-1].sequence


def dependents(entries: Found) -> Found:
    """Find what is open and requires what these provide, and what requires that in turn.

    Args:
        entries: The operations that others may require. What one journal holds may require what
            another one holds, so each is named, also one that holds none of them.

    Returns:
        What was found, by journal, each after what it requires there.

    Raises:
        JournalUnavailableError: One of the journals cannot be reached.
    """
    chosen = {entry.op_id for _, held in entries for entry in held}
    journals = [journal for journal, _ in entries]
    found: list[dict[str, QueuedOperation]] = [{} for _ in journals]
    fresh: list[Sequence[QueuedOperation]] = [held for _, held in entries]
    while any(fresh):
        provided = [_provided(held) for held in fresh]
        fresh = []
        for number, journal in enumerate(journals):
            elsewhere = provided[:number] + provided[number + 1 :]
            needing = (*_near(journal, provided[number]), *_far(journal, elsewhere))
            new = {e.op_id: e for e in needing if e.op_id not in chosen | found[number].keys()}
            found[number].update(new)
            fresh.append(tuple(new.values()))
    return [(journal, tuple(each.values())) for journal, each in zip(journals, found, strict=True)]


def _provided(entries: Iterable[QueuedOperation]) -> _Keys:
    keys: _Keys = {}
    for entry in entries:
        if entry.operation is not None and (provided := entry.operation.provides):
            keys.setdefault(entry.destination, set()).update(provided)
    return keys


def _near(journal: Journal, provided: _Keys) -> Iterator[QueuedOperation]:
    """Give what requires keys that the same journal's entries provide: it knows these waits."""
    for destination, keys in sorted(provided.items()):
        query = EntryQuery(
            destination=destination, states=OPEN, requires=tuple(sorted(keys)), limit=_PAGE
        )
        for page in pages(journal, query):
            yield from page


def _far(journal: Journal, elsewhere: Sequence[_Keys]) -> Iterator[QueuedOperation]:
    """Give what requires keys that come from elsewhere: a journal does not know that it waits."""
    for provided in elsewhere:
        for destination, keys in sorted(provided.items()):
            query = EntryQuery(destination=destination, states=OPEN, limit=_PAGE)
            for page in pages(journal, query):
                for entry in page:
                    operation = entry.operation
                    if operation is not None and not operation.requires.isdisjoint(keys):
                        yield entry
