"""Metrics of tight loops that wait in memory, and in a file, too, so that they outlive the process.

For queued delivery with the durability ``process``. There are two files: calls write into one, while
what stands in the other is appended to the journal, or passed on to the process that appends.
"""

import logging
from collections import deque

from hokusai_core import group_commit
from hokusai_core.group_commit import Batch, GroupCommit, PointSink, Queue
from hokusai_core.packed_points import Points
from hokusai_core.points_file import PointsFile
from hokusai_core.points_relay import PointsRelay

logger = logging.getLogger("hokusai")

PASS_ON_SECONDS = 1.0
"""How long a file gathers calls before it is passed on. They outlive the process all the same."""


class FiledGroupCommit(GroupCommit):
    """A buffer of which each call is in a file before it returns.

    As the file keeps it, a call goes on where a flush has failed; it tries one, and raises where that
    fails, only once the buffer is full.

    Args:
        files: Two that are empty.
        relay: Passes on what stands in them to another process that appends.
    """

    def __init__(
        self, files: tuple[PointsFile, PointsFile], relay: PointsRelay | None = None
    ) -> None:
        self._filling = files[0]
        super().__init__(files, relay)

    @property
    def interval(self) -> float:
        """How many seconds values are let gather."""
        relay = self._relay
        return PASS_ON_SECONDS if relay is not None and relay.ready else super().interval

    def add(self, sink: PointSink, points: Points) -> None:
        """Keep the points of one call; what the file does not take is appended to the journal at once.

        Args:
            sink: The handle that writes them.
            points: Checked already; they need not have a time.

        Raises:
            NotStoredError: File, journal and spool failed. The points were not taken.
        """
        if self._count >= group_commit.MOST_POINTS:
            self.flush()
        with self.adding:
            stamped = sink.stamped_call(points)
            try:
                self._filling.append(sink.run_id, stamped)
            except OSError as cause:
                logger.debug("No file takes these metrics, so they are appended alone: %s", cause)
                filed = False
            else:
                self._calls.append((sink, stamped))
                self._count += len(points[0])
                filed = True
        if not filed:
            sink.write_points((stamped,))
        if not self._at_work:
            self._start()

    def save(self) -> bool:
        """Give True: each call is in its file."""
        return True

    def _new_batch(self) -> Batch:
        """Begin a batch of what stands in the file into which calls write."""
        return Batch(self._filling, self._calls)

    def _move_to(self, batch: Batch, calls: Queue) -> None:
        """Let calls go into the other file, and into another queue, from now on."""
        # First: a signal handler may log in between, and no file may lose what is in no batch.
        if self._filling is batch.file:
            self._filling = next(file for file in self._files if file is not batch.file)
        # Not one by one, as calls wait for the lock meanwhile.
        if self._calls is calls:
            self._calls = deque()

    def _timed(self, sink: PointSink, calls: list[Points]) -> list[Points]:
        return calls  # as they stand in the file

    def _in_file(self, batch: Batch) -> PointsFile | None:
        return batch.file

    def _done(self, batch: Batch) -> None:
        """Forget a batch that is in the journal."""
        if batch.file is not None:
            try:
                batch.file.clear()
            except OSError as cause:
                logger.debug("A file of metrics was not emptied, so it is left: %s", cause)
                batch.file.abandon()
        super()._done(batch)
