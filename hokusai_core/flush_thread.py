"""The thread that flushes a buffer of metrics at an interval, for as long as values come.

It keeps a buffer alive while something is in it, and lets it be forgotten otherwise.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from hokusai_core.errors import HokusaiError
from hokusai_core.reentrant_event import ReentrantEvent

logger = logging.getLogger("hokusai")

_BREAK_SECONDS = 1e-4
"""How long the thread rests between sorting values and writing them."""


class Flushed(Protocol):
    """A buffer, as the thread needs it."""

    @property
    def interval(self) -> float:
        """How many seconds values are let gather."""

    @property
    def empty(self) -> bool:
        """Whether nothing was added since the last flush."""

    def pass_on(self, *, rest: Callable[[], object]) -> None:
        """Flush, and call ``rest`` between sorting the values and writing them."""


class FlushThread:
    """The thread of one buffer, started with the first value.

    Args:
        buffer: Not kept alive by this.
    """

    def __init__(self, buffer: Flushed) -> None:
        # Reentrant: a signal handler may log in the middle of a call.
        self._starting = threading.RLock()
        self._due = ReentrantEvent()
        self.at_work: list[Flushed] = []
        """The buffer, while it is flushed at intervals; looked at in each call of a loop."""
        self.thread: threading.Thread | None = None
        weakref.finalize(buffer, self._due.set).atexit = False

    def start(self, buffer: Flushed) -> None:
        """Flush in a moment; until then the thread keeps the buffer alive."""
        with self._starting:
            if self.at_work:
                return
            if self.thread is None or not self.thread.is_alive():
                thread = threading.Thread(target=self._run, name="hokusai-flush", daemon=True)
                try:
                    thread.start()
                except RuntimeError as cause:  # too many threads, or the interpreter ends
                    logger.debug("Metrics wait for the next call: %s", cause)
                    return
                self.thread = thread
            self.at_work.append(buffer)
            self._due.set()

    def _run(self) -> None:
        """Flush at each interval while values are added; ends when the buffer is forgotten."""
        while True:
            self._due.wait()
            if not self.at_work:
                return
            time.sleep(self.at_work[0].interval)
            buffer = self.at_work[0]
            idle = buffer.empty
            try:
                buffer.pass_on(rest=_let_others_run)
            except HokusaiError as failure:
                logger.debug("The flush of metrics failed: %s", failure)
            except Exception:
                logger.exception("A defect in the flush of metrics; they are kept and tried again.")
            if idle:  # not at once: a loop would have to wake this thread after each flush
                self._let_go(buffer)
            del buffer

    def _let_go(self, buffer: Flushed) -> None:
        """Let the buffer be forgotten, unless something was added meanwhile."""
        with self._starting:
            self.at_work.clear()
            if buffer.empty:
                self._due.clear()
            else:  # who added it may have seen that the thread is at work
                self.at_work.append(buffer)


def _let_others_run() -> None:
    """Let go of the interpreter's lock, which a loop waits for at the end of its step.

    A thread that only computes keeps it for as long as it has work, or for 5 ms.
    """
    time.sleep(_BREAK_SECONDS)
