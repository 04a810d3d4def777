"""Metrics of tight loops are appended to the journal together, twenty times a second.

For queued delivery, with a durability other than ``machine``. A call leaves the checked values in a
bounded buffer; operations are built, and times given, when the buffer is flushed: 50 ms after its first
value, and before anything else is written, read, waited for, forked or closed.

With ``process``, a call also writes them to a file before it returns, so that they outlive the process
(:mod:`hokusai_core.filed_group_commit`). With ``relaxed`` it does not, the one stated exception to the
rule that a write which returned is durable: the death of the process loses what was logged within its
last 50 ms and the time of one flush, about :data:`MOST_POINTS` points at most, and nothing else.

Where a process of its own delivers, what the thread would append it writes into a file, for that process
to append (:mod:`hokusai_core.points_relay`). A flush that somebody asks for has all in the journal.
"""

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from hokusai_core.errors import HokusaiError, JournalUnavailableError, NotStoredError
from hokusai_core.flush_thread import FlushThread
from hokusai_core.packed_points import Points
from hokusai_core.points_file import PointsFile
from hokusai_core.points_relay import PointsRelay
from hokusai_core.process_end import at_the_end_of_child

logger = logging.getLogger("hokusai")

INTERVAL_SECONDS = 0.05
"""How long a value waits in memory at most, the time of a flush apart."""

MOST_POINTS = 50_000
"""Values that wait in memory at most: a call that finds as many flushes them itself."""

_LOCK_SECONDS = 30.0
"""How long a flush waits for the flush of another thread."""


class PointSink(Protocol):
    """A run handle, as the buffer needs it."""

    @property
    def run_id(self) -> str:
        """Either id of the run."""

    def stamped(self, calls: Iterable[Points]) -> list[Points]:
        """Give points that have no time yet the time at which they were logged."""

    @property
    def stamped_call(self) -> Callable[[Points], Points]:
        """Does so for one call; called with the buffer's lock (``adding``)."""

    def write_points(self, calls: Sequence[Points]) -> None:
        """Append points to the journal, as few operations; raises NotStoredError."""

    def expect_points(self, calls: Sequence[Points]) -> None:
        """Take note of points that another process appends to the journal."""


Queue = deque[tuple[PointSink, Points]]
"""Calls in their order, each with the handle that writes it."""


@dataclass
class Batch:
    """What is flushed together: the calls of each sink, and the file that holds them, too, if one does.

    ``calls`` are those that are not sorted into ``of_sinks`` yet; None once all are.
    """

    file: PointsFile | None = None
    calls: Queue | None = field(default_factory=deque)
    of_sinks: dict[PointSink, list[Points]] = field(default_factory=dict)


class AtOnce:
    """In the place of a buffer where each call is written before it returns."""

    @property
    def adding(self) -> threading.RLock:
        """A lock for the times of one run's points; they need none in common with others."""
        return threading.RLock()

    def add(self, sink: PointSink, points: Points) -> None:
        """Write the points of one call.

        Args:
            sink: The handle that writes them.
            points: Checked already; they need not have a time.

        Raises:
            HokusaiError: As the handle does.
        """
        sink.write_points(sink.stamped((points,)))

    def flush(self) -> None:
        """Do nothing: everything is written."""


class GroupCommit:
    """The buffer of one runtime. Safe to use from several threads, and across ``fork``.

    A flush that fails keeps its values, logs an error, and is tried again with the next flush. Until
    one succeeds, each call that would add a value tries, and raises where that fails.

    Args:
        files: At most one, for what no flush could append in time (:meth:`save`), and for what is passed
            on; none where there is no place for it.
        relay: Passes the file on to a process that appends in the place of the thread; None where there
            is no file.
    """

    def __init__(
        self, files: tuple[PointsFile, ...] = (), relay: PointsRelay | None = None
    ) -> None:
        self._at_fork = False
        self._flushed_by = self._added_by = 0
        """The threads that flush, and that write a call into a file; 0 for none."""
        self._files = files
        self._relay = relay
        self.reset_after_fork()

    @property
    def interval(self) -> float:
        """How many seconds values are let gather."""
        return INTERVAL_SECONDS

    @property
    def empty(self) -> bool:
        """Whether nothing was added since the last flush."""
        return not self._calls and self._taken is None

    def add(self, sink: PointSink, points: Points) -> None:
        """Keep the points of one call until the next flush.

        Args:
            sink: The handle that writes them.
            points: Checked already; they need not have a time.

        Raises:
            NotStoredError: Journal and spool failed, and still do. The points were not taken.
        """
        if self._count >= MOST_POINTS or self._failing:
            self._make_room()
        # Without a lock, which a loop would feel: nothing comes between a queue and what is added to
        # it, in no thread. The count may be off for a moment; it is a bound, and made anew.
        self._calls.append((sink, points))
        self._count += len(points[0])
        if not self._at_work:
            self._start()

    def flush(self, *, rest: Callable[[], object] = lambda: None) -> None:
        """Append everything that was added before this call.

        A signal handler that comes within a flush of its own thread, or while a call of it writes into a
        file, does not: it would wait for what it has interrupted. What was added is in no danger.

        Args:
            rest: Called between sorting the values and writing them.

        Raises:
            NotStoredError: Journal and spool failed; the values are kept and tried again.
        """
        own = threading.get_ident()
        if own in (self._flushed_by, self._added_by):
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
            if not self.empty or (self._relay is not None and self._relay.count):
                self._flush(rest)
        finally:
            if self._flushed_by == own:
                self._flushed_by = 0
            try:  # noqa: SIM105 - Ctrl-C may come in the call of suppress()
                self._flushing.release()
            except RuntimeError:  # it was not taken
                pass

    def pass_on(self, *, rest: Callable[[], object] = lambda: None) -> None:
        """Let another process append what was added before this call; where there is none, append it.

        Args:
            rest: Called between sorting the values and writing them.

        Raises:
            NotStoredError: As :meth:`flush`.
        """
        relay = self._relay
        if relay is None or not relay.ready:
            self.flush(rest=rest)
            return
        with self._flushing:
            if self._failing or self._taken is not None:
                self.flush(rest=rest)
                return
            batch = self._take()
            if batch is None:
                relay.pass_on()
                return
            rest()
            file = self._in_file(batch)
            if file is None:
                self.flush(rest=rest)
                return
            for sink, calls in batch.of_sinks.items():
                sink.expect_points(calls)
            count = sum([count_points(calls) for calls in batch.of_sinks.values()])
            # Where there are two files, calls write into the other one by now.
            relay.add(file, count, at_once=len(self._files) > 1)
            self._forget(batch)

    def save(self) -> bool:
        """Write what a flush could not append into the file; gives False where that is not all in it.

        It stays in memory, too: a point that is appended twice is one point.
        """
        if not self._files or not self._flushing.acquire(timeout=_LOCK_SECONDS):
            return False
        try:
            batch = self._take()
            if batch is None:
                return True
            later = tuple(self._calls)
            for sink, points in self._sorted_out(later).items():
                batch.of_sinks.setdefault(sink, []).extend(points)
            for _ in later:
                self._calls.popleft()
            return self._in_file(batch) is not None
        finally:
            self._flushing.release()

    def close(self) -> None:
        """Let go of the files; what could not be appended stays in them."""
        if not self._flushing.acquire(timeout=_LOCK_SECONDS):
            return  # another thread is at them, and the process lets go of them at its end
        try:
            with self.adding:
                for file in self._files:
                    file.close()
        finally:
            self._flushing.release()

    def flush_at_the_end(self) -> None:
        """Append what was added, as the process ends; where that fails, say what becomes of it."""
        try:
            self.flush()
        except NotStoredError as failure:
            if self.save():
                logger.error(  # noqa: TRY400 - nothing is lost, and the reason says enough
                    "Metrics could not be appended to the journal. They stay in %s, and the next "
                    "process that uses the journal appends them. %s",
                    self._files[0].folder,
                    failure,
                )
            else:
                logger.exception("Metrics that waited in memory are lost with this process.")

    def reset_after_fork(self) -> None:
        """In a forked child: the parent writes what is in its buffer, and its files."""
        for file in self._files:
            file.abandon()
        if self._relay is not None:
            self._relay.reset_after_fork()
        self._calls: Queue = deque()
        self._taken: Batch | None = None
        self._count = 0
        self._failing = False
        self._at_end_of_child = False
        # Reentrant: a signal handler may log in the middle of a call.
        self.adding = threading.RLock()
        """Held while the points of a call get their time, where they get it in the call."""
        self._added_by = 0
        self._flushing = threading.RLock()
        self._flushed_by = 0
        self._thread = FlushThread(self)
        self._at_work = self._thread.at_work

    @property
    def _whereabouts(self) -> str:
        """Where values wait, in words."""
        return "memory"

    def _make_room(self) -> None:
        """Flush, so that the points of a call can be taken.

        Raises:
            NotStoredError: Journal and spool failed; the points are not taken.
        """
        try:
            self.flush()
        except NotStoredError as failure:
            raise NotStoredError(
                "The metrics of this call are kept nowhere: earlier ones could not be stored. These "
                f"wait in {self._whereabouts} and are tried again; log this call's again. {failure}",
                failure.causes,
            ) from failure

    def _flush(self, rest: Callable[[], object]) -> None:
        """Append what an earlier flush could not, and what was added until now."""
        earlier = self._taken
        try:
            if self._relay is not None:
                self._relay.settle()
            while batch := self._take():
                rest()
                self._write(batch)
                self._done(batch)
                if batch is not earlier:  # what came meanwhile is for the next flush
                    break
        except HokusaiError as failure:
            self._fail(failure)
            raise
        finally:
            if self._taken is not None:
                self._start()
        self._failing = False

    def _take(self) -> Batch | None:
        """Give what is to be appended next, and let what is added from now on be another batch."""
        with self.adding:
            batch = self._taken
            if batch is None:
                if not self._calls:
                    return None
                batch = self._taken = self._new_batch()
            if batch.calls is not None:  # so it is, too, where Ctrl-C came in between
                self._move_to(batch, batch.calls)
        if batch.calls is not None:
            batch.of_sinks = self._sorted_out(batch.calls)
            batch.calls = None
        return batch

    def _new_batch(self) -> Batch:
        return Batch()

    def _move_to(self, batch: Batch, calls: Queue) -> None:
        """Let a batch have the calls that were added until now, in its queue."""
        # One by one: no lock keeps another thread from adding to the queue that it has seen here.
        with suppress(IndexError):
            calls.extend(iter(self._calls.popleft, None))

    def _sorted_out(
        self, calls: Iterable[tuple[PointSink, Points]]
    ) -> dict[PointSink, list[Points]]:
        """Give the calls of each sink, in their order, all with a time."""
        of_sinks: dict[PointSink, list[Points]] = {}
        last = None
        of_last: list[Points] = []
        for sink, points in calls:
            if sink is not last:
                last, of_last = sink, of_sinks.setdefault(sink, [])
            of_last.append(points)
        return {sink: self._timed(sink, of_sink) for sink, of_sink in of_sinks.items()}

    def _timed(self, sink: PointSink, calls: list[Points]) -> list[Points]:
        return sink.stamped(calls)

    def _write(self, batch: Batch) -> None:
        """Append a batch, each run for itself, and keep in it what could not be appended.

        Where it is the journal that is away, the other runs do not wait for it as long again.
        """
        failure: HokusaiError | None = None
        for sink, calls in tuple(batch.of_sinks.items()):
            try:
                self._append(sink, calls)
            except HokusaiError as reason:
                failure = reason
                if any(isinstance(one, JournalUnavailableError) for one in _reasons(reason)):
                    break
            else:
                # Ctrl-C may come before: a point that is appended twice is one point.
                del batch.of_sinks[sink]
        if failure is not None:
            raise failure

    def _append(self, sink: PointSink, calls: Sequence[Points]) -> None:
        sink.write_points(calls)

    def _fail(self, failure: HokusaiError) -> None:
        if not self._failing:
            logger.error(
                "%d metrics that wait in %s could not be stored, and are tried again. %s",
                self._count,
                self._whereabouts,
                failure,
            )
        self._failing = True

    def _in_file(self, batch: Batch) -> PointsFile | None:
        """Give the file in which a batch stands, written now if need be; None where not all does."""
        if not self._files:
            return None
        (file,) = self._files
        try:
            file.extend([(sink.run_id, calls) for sink, calls in batch.of_sinks.items()])
        except OSError as cause:
            logger.debug("No file takes metrics: %s", cause)
            return None
        return file

    def _done(self, batch: Batch) -> None:
        """Forget a batch that is in the journal."""
        self._forget(batch)

    def _forget(self, batch: Batch) -> None:
        """Make room for others than those of a batch."""
        with self.adding:
            self._taken = None
        self._count_anew()

    def _count_anew(self) -> None:
        """Count what is not in the journal."""
        passed_on = 0 if self._relay is None else self._relay.count_before
        with self.adding:
            self._count = passed_on + count_points([points for _, points in tuple(self._calls)])

    def _start(self) -> None:
        """Let the thread flush in a moment."""
        self._flush_before_forks()
        self._flush_at_the_end_of_child()
        self._thread.start(self)

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

    def _flush_at_the_end_of_child(self) -> None:
        """Flush at the end of a process that :mod:`multiprocessing` has forked: ``atexit`` does not run.

        Registered with the first value, as such a child forgets at its beginning what was registered.
        """
        if not self._at_end_of_child:
            self._at_end_of_child = True
            at_the_end_of_child(weakref.WeakMethod(self.flush_at_the_end))


def _reasons(failure: HokusaiError) -> tuple[BaseException, ...]:
    return (failure, *getattr(failure, "causes", ()))


def count_points(calls: Iterable[Points]) -> int:
    """Count the points of calls."""
    return sum([len(points[0]) for points in calls])
