"""Metrics of tight loops that wait in memory, and in a file, too, so that they outlive the process.

For queued delivery with the durability ``process``, and for outages with direct delivery
(:mod:`hokusai_core.outage_buffer`). There are two files: calls write into one, while
what stands in the other is appended to the journal, or passed on to the process that appends.

Where there is such a process, a file alone holds the calls of a tight loop, but for the newest of each
key. To look at the thousand calls of a second once more, in memory that the processor's caches have
forgotten, takes a thread milliseconds, in which it has the interpreter's lock and a loop waits.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable

from hokusai_core import group_commit
from hokusai_core.errors import NotStoredError
from hokusai_core.group_commit import Batch, GroupCommit, PointSink, Queue, count_points
from hokusai_core.packed_points import Points
from hokusai_core.points_file import PointsFile, still_in_file
from hokusai_core.points_relay import PointsRelay

logger = logging.getLogger("hokusai")

_Newest = dict[PointSink, dict[tuple[str, ...], Points]]
"""The newest call of each handle, by its keys."""

PASS_ON_SECONDS = 1.0
"""How long a file gathers calls before it is passed on. They outlive the process all the same."""

MOST_CALLS_IN_MEMORY = 50
"""With more, a file holds them alone. So few are appended from memory faster than from the file."""


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
    def empty(self) -> bool:
        """Whether nothing was added since the last flush."""
        return super().empty and not self._filed

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
            self._make_room()
        own = threading.get_ident()
        with self.adding:
            # A signal handler that comes from here on is in the middle of the call.
            interrupted, self._added_by = self._added_by, own
            try:
                stamped = sink.stamped_call(points)
                filed = self._keep(sink, stamped)
            finally:
                self._added_by = interrupted
        if not filed:
            self._append(sink, (stamped,))
        if not self._at_work:
            self._start()

    def _keep(self, sink: PointSink, stamped: Points) -> bool:
        """Write a call into the file, and take note of it; False where no file takes it."""
        try:
            self._filling.append(sink.run_id, stamped)
        except OSError as cause:
            logger.debug("No file takes these metrics, so they are appended alone: %s", cause)
            return False
        if self._filed:
            self._filed += len(stamped[0])
            self._note(sink, stamped)
        else:
            self._calls.append((sink, stamped))
            if len(self._calls) > MOST_CALLS_IN_MEMORY:
                self._leave_to_file()
        self._count += len(stamped[0])
        return True

    def save(self) -> bool:
        """Give True: each call is in its file."""
        return True

    def pass_on(self, *, rest: Callable[[], object] = lambda: None) -> None:
        """Let another process append what was added before this call; where there is none, append it.

        Args:
            rest: Called between sorting the values and writing them.

        Raises:
            NotStoredError: As :meth:`flush`.
        """
        with self._flushing:
            self._pass_on_filed()
            super().pass_on(rest=rest)

    def reset_after_fork(self) -> None:
        """In a forked child: the parent writes what is in its buffer, and its files."""
        super().reset_after_fork()
        self._filed = 0
        """How many points stand in the file into which calls write, and in no memory."""
        self._newest: _Newest = {}
        self._to_expect: list[_Newest] = []

    @property
    def _whereabouts(self) -> str:
        return f"files in {self._filling.folder}"

    def _leave_to_file(self) -> None:
        """Hold in memory no more what stands in the file, if there is a process that appends."""
        # What a flush could not append stands in the other file, which no call may write into.
        if self._taken is None and self._relay is not None and self._relay.ready:
            calls = self._calls
            count = count_points([points for _, points in tuple(calls)])
            if self._calls is not calls:
                return  # a signal handler has left them to the file
            # First: what a signal handler logs from now on is not added to the queue.
            self._filed += count
            for sink, points in tuple(calls):
                self._note(sink, points)
            self._calls = deque()

    def _note(self, sink: PointSink, call: Points) -> None:
        """The points of a call that stands in the file alone may be the newest of their keys."""
        newest = self._newest.get(sink)
        if newest is None:
            newest = self._newest[sink] = {}
        known = newest.get(call[0])
        if known is None or (call[3], call[2]) >= (known[3], known[2]):
            newest[call[0]] = call

    def _pass_on_filed(self) -> None:
        """Pass on the file that alone holds calls, if there is one; calls write into the other one."""
        relay = self._relay
        if relay is None:
            return
        with self.adding:
            relay.pass_on()  # there is something only where Ctrl-C came in between the last time
            if self._filed:
                relay.gather(self._filling, self._filed)
                self._to_expect.append(self._newest)
                self._filed, self._newest = 0, {}
                # Last: what a signal handler logs before is passed on, too.
                self._fill_other()
        while self._to_expect:
            for sink, calls in self._to_expect[0].items():
                sink.expect_points(tuple(calls.values()))
            del self._to_expect[0]
        relay.pass_on()
        self._count_anew()

    def _fill_other(self) -> None:
        self._filling = next(file for file in self._files if file is not self._filling)

    def _flush(self, rest: Callable[[], object]) -> None:
        self._pass_on_filed()
        super()._flush(rest)

    def _count_anew(self) -> None:
        super()._count_anew()
        self._count += self._filed

    def _new_batch(self) -> Batch:
        """Begin a batch of what stands in the file into which calls write."""
        return Batch(self._filling, self._calls)

    def _move_to(self, batch: Batch, calls: Queue) -> None:
        """Let calls go into the other file, and into another queue, from now on."""
        # First: a signal handler may log in between, and no file may lose what is in no batch.
        if self._filling is batch.file:
            self._fill_other()
        # Not one by one, as calls wait for the lock meanwhile.
        if self._calls is calls:
            self._calls = deque()

    def _timed(self, sink: PointSink, calls: list[Points]) -> list[Points]:
        return calls  # as they stand in the file

    def _write(self, batch: Batch) -> None:
        try:
            super()._write(batch)
        except NotStoredError as failure:
            path = batch.file.path if batch.file is not None else None
            if path is None:
                raise
            raise still_in_file(path, failure) from failure

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
