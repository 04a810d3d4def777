"""Queued delivery: every write goes into the journal, and no call waits for the primary."""

from collections.abc import Callable
from dataclasses import dataclass

from hokusai_core.entities import SyncState
from hokusai_core.errors import JournalUnavailableError, NotStoredError
from hokusai_core.fallback import FallbackStore
from hokusai_core.hookspecs import OpenContent
from hokusai_core.journal import Entry
from hokusai_core.operations import AnyOperation
from hokusai_core.streams import StreamStates


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a write.

    ``identifier`` is the id of what a creation made: the primary's where it was delivered, else the
    provisional one; "" for other writes.
    """

    state: SyncState
    identifier: str = ""


PENDING = WriteResult("pending")
"""That of a write that makes nothing with an id."""


class QueuedDelivery:
    """Appends writes to the journal, in order, without asking the primary.

    Args:
        fallback: Journal and spool.
        destination: Identity of the primary.
        streams: This process's knowledge of streams: all that are written here are queued.
        on_queued: Called after an append; wakes the drainer.
    """

    def __init__(
        self,
        fallback: FallbackStore,
        destination: str,
        streams: StreamStates,
        on_queued: Callable[[], None],
    ) -> None:
        self._fallback = fallback
        self._destination = destination
        self._streams = streams
        self._on_queued = on_queued

    def write(
        self, operation: AnyOperation, open_content: OpenContent | None, *, commutes: bool
    ) -> WriteResult:
        """Keep an operation, as durably as the settings say.

        Args:
            operation: Validated by the facade, with the one id that its stream goes by.
            open_content: Opens the bytes of an artifact.
            commutes: Whether its order among others does not matter.

        Raises:
            NotStoredError: Journal and spool failed.
        """
        entry = Entry(operation=operation, destination=self._destination, fresh=True)
        if commutes:
            self.keep(entry, open_content)
        else:
            # Metrics in memory come first, so that a run that has ended is complete in the journal.
            self._streams.flush_before(operation.kind)
            with self._streams.holding(operation.stream):
                self.keep(entry, open_content)
        made = operation.provisional_id
        return WriteResult("pending", made) if made else PENDING

    def keep(self, entry: Entry, open_content: OpenContent | None = None) -> None:
        """Append an entry, note that its stream waits, and wake the drainer.

        Raises:
            NotStoredError: Journal and spool failed.
        """
        stream = entry.stream
        try:
            self._fallback.append(entry, open_content, None)
        except NotStoredError as lost:
            if any(
                isinstance(one, JournalUnavailableError) and one.maybe_applied
                for one in lost.causes
            ):
                self._streams.set_queued(stream)
            raise
        self._streams.set_queued(stream)
        self._on_queued()
