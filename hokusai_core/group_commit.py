"""Metrics of tight loops wait in memory for a twentieth of a second, and are appended together.

For queued delivery with ``durability="relaxed"``, the one stated exception to the rule that a write
which returned is durable. A call appends the checked values to a bounded buffer; operations are built
when the buffer is flushed: 50 ms after its first value, and before anything else is written, read,
waited for, forked or closed. So a crash of the process loses what was logged within its last 50 ms and
the time of one flush, at most :data:`MOST_POINTS` points, and nothing else.
"""

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from hokusai_core.errors import HokusaiError, NotStoredError

logger = logging.getLogger("hokusai")

INTERVAL_SECONDS = 0.05
"""How long a value waits in memory at most, the time of a flush apart."""

MOST_POINTS = 50_000
"""Values that wait in memory at most: a call that finds as many flushes them itself."""

_LOCK_SECONDS = 30.0
"""How long a flush waits for the flush of another thread."""

RawPoint = tuple[str, float, int, int]
"""Key, value, timestamp in milliseconds and step of a point, all of them checked."""


class PointSink(Protocol):
    """A run handle, as the buffer needs it."""

    def write_points(self, points: Sequence[RawPoint]) -> None:
        """Append points to the journal, as few operations; raises NotStoredError."""


class GroupCommit:
    """The buffer of one runtime. Safe to use from several threads, and across ``fork``.

    A flush that fails keeps its values, logs an error, and lets the next call raise; it is tried
    again with each flush, until the buffer is full and calls are refused.
    """

    def __init__(self) -> None:
        self._buffer: deque[tuple[PointSink, RawPoint]] = deque()
        self._failure: HokusaiError | None = None
        self._closed = False
        self.reset_after_fork()
        self._buffer.clear()

    def add(self, sink: PointSink, point: RawPoint) -> None:
        """Keep one point until the next flush.

        Args:
            sink: The handle that writes it.
            point: Checked already.

        Raises:
            NotStoredError: An earlier flush failed. The point was not taken.
        """
        if self._failure is not None:
            self._raise_failure()
        buffer = self._buffer
        buffer.append((sink, point))
        if not self._due.is_set():
            self._start()
        if len(buffer) >= MOST_POINTS:
            self.flush()

    def add_all(self, sink: PointSink, points: Sequence[RawPoint]) -> None:
        """Keep several points until the next flush; like :meth:`add`."""
        if self._failure is not None:
            self._raise_failure()
        buffer = self._buffer
        buffer.extend((sink, point) for point in points)
        if not self._due.is_set():
            self._start()
        if len(buffer) >= MOST_POINTS:
            self.flush()

    def flush(self) -> None:
        """Append everything that was added before this call.

        Raises:
            NotStoredError: Journal and spool failed; the values are kept in memory and tried again.
        """
        if not self._buffer and self._failure is None:
            # What another thread is flushing at this moment was not necessarily stored yet.
            if self._flushing.acquire(timeout=_LOCK_SECONDS):
                self._flushing.release()
            return
        if not self._flushing.acquire(timeout=_LOCK_SECONDS):
            raise NotStoredError(
                "Metrics that wait in memory could not be stored within "
                f"{_LOCK_SECONDS:g} s; they are tried again.",
                (),
            )
        try:
            self._flush()
        finally:
            self._flushing.release()

    def _flush(self) -> None:
        buffer = self._buffer
        by_sink: dict[PointSink, list[RawPoint]] = {}
        self._due.clear()
        for _ in range(len(buffer)):
            sink, point = buffer.popleft()
            by_sink.setdefault(sink, []).append(point)
        failure: HokusaiError | None = None
        for sink, points in by_sink.items():
            try:
                sink.write_points(points)
            except HokusaiError as reason:
                failure = reason
                buffer.extendleft((sink, point) for point in reversed(points))
        if failure is not None and self._failure is None:
            logger.error(
                "%d metrics that wait in memory could not be stored; they are tried again. %s",
                len(buffer),
                failure,
            )
        self._failure = failure
        if failure is not None:
            raise failure

    def reset_after_fork(self) -> None:
        """In a forked child: the parent writes what is in its buffer."""
        self._buffer.clear()
        self._failure = None
        self._flushing = threading.Lock()
        self._starting = threading.Lock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    def flush_before_fork(self) -> None:
        """Let the child see what was logged before; a failure stays with the parent."""
        try:
            self.flush()
        except HokusaiError:
            logger.debug("A flush before a fork failed; it is tried again in the parent.")

    def _raise_failure(self) -> None:
        failure = self._failure
        if failure is None:
            return
        self.flush()

    def _start(self) -> None:
        """Let the thread flush in a moment."""
        with self._starting:
            self._due.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=_run,
                    args=(weakref.ref(self), self._due),
                    name="hokusai-flush",
                    daemon=True,
                )
                self._thread.start()


def _run(reference: "weakref.ref[GroupCommit]", due: threading.Event) -> None:
    """Flush while the buffer lives."""
    while True:
        due.wait()
        time.sleep(INTERVAL_SECONDS)
        group = reference()
        if group is None:
            return
        try:
            group.flush()
        except HokusaiError:
            due.set()
        except Exception:
            logger.exception("A defect in the flush of metrics; they are kept and tried again.")
            due.set()
        del group
