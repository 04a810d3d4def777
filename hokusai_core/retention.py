"""Old entries leave the journal, a bounded number at a time, and now and then."""

import logging
import threading
from collections.abc import Callable, Iterable

from hokusai_core.clock import Clock
from hokusai_core.errors import JournalUnavailableError
from hokusai_core.hookspecs import Journal

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 3600.0


class Pruner:
    """Deletes what was settled longer ago than the retention time. Thread-safe.

    Args:
        journals: Gives the places to prune: the journal, and the spool where there is one.
        retention_seconds: How long settled entries stay.
        clock: Time.
    """

    def __init__(
        self, journals: Callable[[], Iterable[Journal]], retention_seconds: float, clock: Clock
    ) -> None:
        self._journals = journals
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._next_at = float("-inf")

    def prune_if_due(self) -> int:
        """Prune once, if that was not done within the last hour; returns how many entries went.

        A journal that cannot be reached is left for the next time.
        """
        now = self._clock.monotonic()
        with self._lock:
            if now < self._next_at:
                return 0
            self._next_at = now + _INTERVAL_SECONDS
        try:
            return sum(
                journal.journal_prune(self._retention_seconds) for journal in self._journals()
            )
        except JournalUnavailableError as failure:
            logger.debug("Old entries stay in the journal for now: %s", failure)
            return 0
