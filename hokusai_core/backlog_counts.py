"""Counts what waits for one destination, in the journal and in the spool."""

from hokusai_core.errors import JournalUnavailableError
from hokusai_core.event_operations import STREAM_PREFIX
from hokusai_core.fallback import FallbackStore


class BacklogCounts:
    """The figures that decide whether anything is left to deliver.

    Args:
        fallback: Journal and spool; None where nothing can wait.
        destination: Identity of the primary.
    """

    def __init__(self, fallback: FallbackStore | None, destination: str) -> None:
        self._fallback = fallback
        self._destination = destination

    def count(self) -> int:
        """Count what waits.

        Raises:
            JournalUnavailableError: Journal or spool cannot tell.
        """
        if self._fallback is None:
            return 0
        journal, spool = self._fallback.backlog(self._destination)
        if journal is None or (spool is None and self._fallback.spool is not None):
            raise JournalUnavailableError(
                "The journal does not tell what is left; `hokusai doctor` says what is wrong."
            )
        return sum(
            figures.by_destination.get(self._destination, 0)
            for figures in (journal, spool)
            if figures
        )

    def in_spool(self) -> int:
        """Count what waits in the spool.

        Raises:
            JournalUnavailableError: The spool cannot tell.
        """
        spool = self._fallback.spool if self._fallback else None
        if spool is None:
            return 0
        return spool.journal_backlog(self._destination).by_destination.get(self._destination, 0)

    def only_events(self) -> bool:
        """Whether something waits, and all of it are registration events."""
        journal, spool = (
            self._fallback.backlog(self._destination) if self._fallback else (None, None)
        )
        if journal is None or (spool and spool.by_destination.get(self._destination)):
            return False
        waiting = journal.by_destination.get(self._destination, 0)
        events = sum(s.waiting for s in journal.streams if s.stream.startswith(STREAM_PREFIX))
        return 0 < waiting == events
