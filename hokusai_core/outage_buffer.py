"""Metrics of tight loops in an outage, with direct delivery and a durability other than ``machine``.

Points of a run whose writes wait go into a file before the call returns, and twenty times a second into
the journal, as with queued delivery (:mod:`hokusai_core.filed_group_commit`). All others are written at
once.

What is in the file counts as queued: it goes into the journal, and nowhere else, before anything is
counted or read there, and before anything else of its run is written.
"""

import threading
from collections.abc import Callable, Sequence

from hokusai_core.filed_group_commit import FiledGroupCommit
from hokusai_core.group_commit import PointSink
from hokusai_core.packed_points import Points
from hokusai_core.points_file import PointsFile
from hokusai_core.waiting_points import WaitingPoints


class QueuedInOutage(FiledGroupCommit):
    """A buffer of points that have to wait, whatever becomes of the outage meanwhile.

    A flush takes no lock of a stream: who holds one may wait for this flush.

    Args:
        files: Two that are empty.
        waiting_points: Appends them.
        adding: Held while the points of a call get their time.
    """

    def __init__(
        self,
        files: tuple[PointsFile, PointsFile],
        waiting_points: WaitingPoints,
        adding: threading.RLock,
    ) -> None:
        super().__init__(files)
        self.adding = adding
        self._waiting_points = waiting_points

    def _append(self, sink: PointSink, calls: Sequence[Points]) -> None:
        self._waiting_points.keep(sink.run_id, calls)
        sink.expect_points(calls)


class OutageBuffer:
    """Takes the metrics of all runs of one runtime. Safe to use from several threads, and across fork.

    Args:
        waiting_points: Knows whether points have to wait; None without a journal.
        make: Makes the buffer for those that do, with the first of them; gives None where there is no
            place for its files.
    """

    def __init__(
        self,
        waiting_points: Callable[[], WaitingPoints | None],
        make: Callable[[WaitingPoints, threading.RLock], QueuedInOutage | None],
    ) -> None:
        self._waiting_points = waiting_points
        self._make = make
        self._queued: QueuedInOutage | None = None
        # Reentrant: a signal handler may log in the middle of a call.
        self.adding = threading.RLock()
        """Held while the points of a call get their time."""

    def add(self, sink: PointSink, points: Points) -> None:
        """Keep the points of one call if they have to wait; else write them.

        Args:
            sink: The handle that writes them.
            points: Checked already; they need not have a time.

        Raises:
            HokusaiError: As the handle does.
        """
        waiting = self._waiting_points()
        if waiting is None or not waiting.while_waiting(
            sink.run_id, self._add_queued, waiting, sink, points
        ):
            sink.write_points(sink.stamped((points,)))

    def flush(self) -> None:
        """Append what is not in the journal yet.

        Raises:
            NotStoredError: Journal and spool failed; it stays in its file and is tried again.
        """
        if self._queued is not None:
            self._queued.flush()

    def reset_after_fork(self) -> None:
        """In a forked child, after that of the buffer that was made: take its lock."""
        self.adding = threading.RLock() if self._queued is None else self._queued.adding

    def _add_queued(self, waiting: WaitingPoints, sink: PointSink, points: Points) -> None:
        queued = self._queued
        if queued is None:
            with self.adding:
                queued = self._queued = self._queued or self._make(waiting, self.adding)
        if queued is None:
            sink.write_points(sink.stamped((points,)))
        else:
            queued.add(sink, points)
