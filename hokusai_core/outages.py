"""Tells the user about an outage: once when it begins, once when it is over."""

import logging
import threading
import time
from collections.abc import Callable

from hokusai_core.printable import printable

logger = logging.getLogger("hokusai")


class OutageReporter:
    """Announces that writes fall back, and that all of them have arrived.

    Args:
        primary: What is away, as the user knows it (an address without credentials).
        where: Tells where records are kept, as the user knows it.
        automatic: Whether this process delivers by itself.
        on_begin: Called with the reason and the place (``journal``, ``spool``) at the beginning.
        on_end: Called with the seconds and the number of operations at the end.
    """

    def __init__(
        self,
        primary: str,
        where: Callable[[], str],
        *,
        automatic: bool,
        on_begin: Callable[[str, str], None] = lambda reason, place: None,
        on_end: Callable[[float, int], None] = lambda seconds, operations: None,
    ) -> None:
        self._primary = primary
        self._where = where
        self._automatic = automatic
        self._on_begin = on_begin
        self._on_end = on_end
        # Reentrant: a signal handler may log in the middle of a call.
        self._lock = threading.RLock()
        self._began_at: float | None = None
        self._queued = 0
        self._refused = 0

    @property
    def under_way(self) -> bool:
        """Whether something fell back and the end was not announced yet."""
        return self._began_at is not None

    def fell_back(self, cause: BaseException | None, place: str) -> None:
        """Count one queued operation; the first of an outage is announced."""
        with self._lock:
            self._queued += 1
            if self._began_at is not None:
                return
            self._began_at = time.time()
        how = (
            "They are delivered by themselves when it is back, or by `hokusai sync`."
            if self._automatic
            else "Run `hokusai sync` when it is back."
        )
        kept = self._where() if place == "journal" else "the local spool (the journal is away, too)"
        what = (
            f"{self._primary} does not take writes ({printable(str(cause)).rstrip('.')})"
            if cause
            else f"Writes to {self._primary} wait behind earlier ones that have not arrived yet"
        )
        logger.warning("%s. Nothing is lost: records are kept in %s. %s", what, kept, how)
        self._on_begin(str(cause) if cause else "", place)

    def refused(self) -> None:
        """Count a queued operation that became a dead letter."""
        with self._lock:
            self._refused += 1

    def over(self, *, drained: bool = True) -> None:
        """Announce that the primary takes writes again, if an outage was told.

        Args:
            drained: Whether nothing waits any more; else somebody else has to deliver it.
        """
        with self._lock:
            if self._began_at is None:
                return
            seconds = time.time() - self._began_at
            queued, refused = self._queued, self._refused
            self._began_at, self._queued, self._refused = None, 0, 0
        if not drained:
            outcome = "they wait until `hokusai sync` delivers them"
        elif refused:
            outcome = f"delivered, apart from {refused} refused for good (`hokusai queue list`)"
        else:
            outcome = "all delivered"
        logger.info(
            "%s takes writes again after %.0f s. Operations kept meanwhile in %s: %d, %s.",
            self._primary,
            seconds,
            self._where(),
            queued,
            outcome,
        )
        if drained:
            self._on_end(seconds, queued)

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.RLock()
