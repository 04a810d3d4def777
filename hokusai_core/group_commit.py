"""Metrics of tight loops wait in memory for a twentieth of a second, and are appended together.

For queued delivery with ``durability="relaxed"``, the one stated exception to the rule that a write
which returned is durable. A call appends the checked values to a bounded buffer; operations are built
when the buffer is flushed: 50 ms after its first value, and before anything else is written, read,
waited for, forked or closed. So the death of the process loses what was logged within its last 50 ms
and the time of one flush, about :data:`MOST_POINTS` points at most, and nothing else.
"""

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from hokusai_core.errors import HokusaiError, NotStoredError
from hokusai_core.points import Points

logger = logging.getLogger("hokusai")

INTERVAL_SECONDS = 0.05
"""How long a value waits in memory at most, the time of a flush apart."""

MOST_POINTS = 50_000
"""Values that wait in memory at most: a call that finds as many flushes them itself. They are counted
without a lock, so several threads may pass it by a little."""

_LOCK_SECONDS = 30.0
"""How long a flush waits for the flush of another thread."""


class PointSink(Protocol):
    """A run handle, as the buffer needs it."""

    def write_points(self, calls: Sequence[Points]) -> None:
        """Append points to the journal, as few operations; raises NotStoredError."""


class GroupCommit:
    """The buffer of one runtime. Safe to use from several threads, and across ``fork``.

    A flush that fails keeps its values, logs an error, and is tried again with the next flush; until
    one succeeds, each call that would add a value tries, and raises where that fails.
    """

    def __init__(self) -> None:
        self._buffer: deque[tuple[PointSink, Points]] = deque()
        self._count = 0
        self._at_fork = False
        self._flushed_by = 0
        self._failing = False
        self.reset_after_fork()

    def add(self, sink: PointSink, points: Points) -> None:
        """Keep the points of one call until the next flush.

        Args:
            sink: The handle that writes them.
            points: Checked already.

        Raises:
            NotStoredError: Journal and spool failed, and still do. The points were not taken.
        """
        if self._failing:
            self.flush()
        self._buffer.append((sink, points))
        self._count += len(points[0])
        if not self._due.is_set():
            self._start()
        if self._count >= MOST_POINTS:
            self.flush()

    def flush(self) -> None:
        """Append everything that was added before this call.

        Raises:
            NotStoredError: Journal and spool failed; the values are kept in memory and tried again.
        """
        own = threading.get_ident()
        if self._flushed_by == own:
            return
        try:
            # Inside the block: Ctrl-C may come when the lock is taken and nothing else is done.
            if not self._flushing.acquire(timeout=_LOCK_SECONDS):
                raise NotStoredError(
                    f"Metrics that wait in memory could not be stored within {_LOCK_SECONDS:g} s; "
                    "they are tried again.",
                    (),
                )
            self._flushed_by = own
            if self._buffer:
                self._flush()
        finally:
            if self._flushed_by == own:
                self._flushed_by = 0
            try:  # noqa: SIM105 - Ctrl-C may come in the call of suppress()
                self._flushing.release()
            except RuntimeError:  # it was not taken
                pass

    def reset_after_fork(self) -> None:
        """In a forked child: the parent writes what is in its buffer."""
        self._buffer.clear()
        self._count = 0
        self._failing = False
        self._flushing = threading.RLock()
        self._flushed_by = 0
        self._starting = threading.Lock()
        self._due = threading.Event()
        self._handed_over: list[GroupCommit] = []
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._due.set).atexit = False

    def _flush(self) -> None:
        buffer = self._buffer
        left: dict[PointSink, list[Points]] = {}
        self._due.clear()
        self._count = 0
        for _ in range(len(buffer)):
            sink, points = buffer.popleft()
            left.setdefault(sink, []).append(points)
        failure: HokusaiError | None = None
        try:
            for sink, calls in tuple(left.items()):
                try:
                    sink.write_points(calls)
                except HokusaiError as reason:
                    failure = reason
                else:
                    del left[sink]
        finally:
            # Also after Ctrl-C: a point that is appended twice is one point.
            for sink, calls in left.items():
                buffer.extendleft((sink, points) for points in reversed(calls))
            if left:
                self._count = sum([len(points[0]) for _, points in tuple(buffer)])
                self._start()
        if failure is None:
            self._failing = False
            return
        if not self._failing:
            logger.error(
                "%d metrics that wait in memory could not be stored, and are tried again. %s",
                self._count,
                failure,
            )
        self._failing = True
        raise failure

    def _start(self) -> None:
        """Let the thread flush in a moment; until then it keeps this buffer alive."""
        with self._starting:
            if self._due.is_set():
                return
            self._handed_over.append(self)
            self._due.set()
            if self._thread is None or not self._thread.is_alive():
                self._flush_before_forks()
                self._thread = threading.Thread(
                    target=_run,
                    args=(self._due, self._handed_over),
                    name="hokusai-flush",
                    daemon=True,
                )
                self._thread.start()

    def _flush_before_forks(self) -> None:
        """Let a child see what was logged before it came to be.

        Registered once the journal is open: what is registered last is called first, and the journal
        closes its connections before a fork.
        """
        if self._at_fork or not hasattr(os, "register_at_fork"):
            return
        self._at_fork = True
        reference = weakref.ref(self)

        def before() -> None:
            group = reference()
            if group is None:
                return
            try:
                group.flush()
            except HokusaiError:
                logger.debug("A flush before a fork failed; the parent tries again.")

        os.register_at_fork(before=before)

    def _let_go(self) -> None:
        """Let the buffer be forgotten, unless something was added meanwhile."""
        with self._starting:
            if not self._due.is_set():
                self._handed_over.clear()


def _run(due: threading.Event, handed_over: list[GroupCommit]) -> None:
    """Flush a moment after each first value; ends when the buffer is forgotten."""
    while True:
        due.wait()
        if not handed_over:
            return
        time.sleep(INTERVAL_SECONDS)
        group = handed_over[0]
        try:
            group.flush()
        except HokusaiError as failure:
            logger.debug("The flush of metrics failed: %s", failure)
        except Exception:
            logger.exception("A defect in the flush of metrics; they are kept and tried again.")
        group._let_go()
        del group
