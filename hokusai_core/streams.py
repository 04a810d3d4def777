"""What this process knows of each stream: whether its writes go to the primary or to the journal."""

import threading
import weakref
from contextlib import AbstractContextManager

from hokusai_core.errors import NotStoredError
from hokusai_core.group_commit import GroupCommit


class StreamStates:
    """Remembers for each stream whether it is queued, and holds one lock for each.

    A stream is unknown until this process created it or asked the journal about it.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler may log in the middle of a call.
        self._guard = threading.RLock()
        self._locks: dict[str, threading.RLock] = {}
        self._queued: dict[str, bool] = {}
        self._late_effects: dict[str, float] = {}
        self._ever_queued = False
        self._buffers: tuple[weakref.ReferenceType[GroupCommit], ...] = ()

    def flush(self) -> None:
        """Append the metrics that are held in memory.

        Raises:
            NotStoredError: Journal and spool failed.
        """
        for reference in self._buffers:
            if (buffer := reference()) is not None:
                buffer.flush()

    def flush_before(self, kind: str) -> None:
        """Append the metrics that come before another write.

        Args:
            kind: Of the operation that is to be written.

        Raises:
            NotStoredError: Journal and spool failed; that operation is kept nowhere.
        """
        try:
            self.flush()
        except NotStoredError as failure:
            raise NotStoredError(
                f"A {kind} operation is kept nowhere: metrics that were logged before it come first, "
                f"and they could not be stored. Call again. {failure}",
                failure.causes,
            ) from failure

    def add_buffer(self, buffer: GroupCommit) -> None:
        """Let :meth:`flush` flush a buffer, too, for as long as somebody holds it."""
        with self._guard:
            living = [reference for reference in self._buffers if reference() is not None]
            self._buffers = (*living, weakref.ref(buffer))

    def holding(self, stream: str) -> AbstractContextManager[object]:
        """Give the stream's lock, so that no write of this process overtakes another."""
        lock = self._locks.get(stream)
        if lock is None:
            with self._guard:
                lock = self._locks.setdefault(stream, threading.RLock())
        return lock

    @property
    def any_queued(self) -> bool:
        """Whether this process ever queued anything."""
        return self._ever_queued

    def known(self, stream: str) -> bool:
        """Whether this process knows the stream's state."""
        return stream in self._queued

    def is_queued(self, stream: str) -> bool:
        """Whether writes of the stream go to the journal."""
        return self._queued.get(stream, False)

    def is_direct(self, stream: str) -> bool:
        """Whether writes of the stream are known to go to the primary."""
        return self._queued.get(stream) is False

    def meet(self, stream: str) -> None:
        """Let an unknown stream be direct; one that is queued stays so."""
        self._queued.setdefault(stream, False)

    def set_queued(self, stream: str) -> None:
        """From now on, writes of the stream go to the journal."""
        self._queued[stream] = True
        self._ever_queued = True

    def set_direct(self, stream: str) -> None:
        """From now on, writes of the stream go to the primary."""
        self._queued[stream] = False

    def await_late_effects(self, stream: str, until: float) -> None:
        """Remember that a write that is kept nowhere may still take effect, up to a time."""
        self._late_effects[stream] = until

    def late_effects_until(self, stream: str) -> float | None:
        """Give the time up to which such a write may take effect; None where there is none."""
        return self._late_effects.get(stream)

    def reset_after_fork(self) -> None:
        """Make the locks anew: in a forked child, the parent's may be held for ever."""
        self._guard = threading.RLock()
        self._locks = {}
