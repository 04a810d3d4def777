"""Times of metric points where the caller gives none."""

import threading
import time
from collections.abc import Iterable

from hokusai_core.packed_points import Points

_Last = tuple[tuple[str, ...], int] | dict[str, int]
"""The last timestamp of each key at one step: as the first call gave them, or one by one."""


class PointTimestamps:
    """Gives timestamps that strictly increase for each (key, step).

    MLflow's table of metrics absorbs points that are equal in key, value, step and timestamp, so two
    equal values logged within one millisecond would become one. The clock is the wall clock at the
    start plus monotonic time since, so that a jump of the wall clock reorders nothing.

    Args:
        lock: Held while a time is given; None for one of its own. Reentrant: a signal handler may log in
            the middle of a call.
    """

    def __init__(self, lock: "threading.RLock | None" = None) -> None:
        self._lock = lock or threading.RLock()
        self._offset = time.time_ns() - time.monotonic_ns()
        self._newest = 0
        self._highest = 0
        self._last: dict[int, _Last] = {}
        """By step."""

    def reset_after_fork(self, lock: threading.RLock) -> None:
        """In a forked child: take another lock; the parent's may be held for ever."""
        self._lock = lock

    def stamped(self, calls: Iterable[Points]) -> list[Points]:
        """Give calls with the time at which they were logged, where they have none yet.

        The points of one call get one time. Where points were given a later time meanwhile, those that
        were logged before count as logged with these.
        """
        stamped = []
        stamped_call = self.stamped_call
        with self._lock:
            for points in calls:
                stamped.append(stamped_call(points))  # noqa: PERF401 - a comprehension is a call
        return stamped

    def stamped_call(self, points: Points) -> Points:
        """Do so for one call; the lock is held."""
        keys, values, timestamp, step = points
        if timestamp >= 0:
            self.seen(keys, step, timestamp)
            return points
        now = (self._offset - timestamp) // 1_000_000
        if now > self._highest:  # later than all that is remembered: nothing of it can collide
            self._newest = self._highest = now
            self._last = {step: (keys, now)}
            return keys, values, now, step
        return keys, values, self._next(keys, step, now), step

    def seen(self, keys: tuple[str, ...], step: int, timestamp: int) -> None:
        """Remember a timestamp that the caller gave."""
        with self._lock:
            if timestamp < self._newest:
                return
            known = self._known(step)
            known.update({key: max(timestamp, known.get(key, 0)) for key in keys})
            self._highest = max(timestamp, self._highest)

    def _next(self, keys: tuple[str, ...], step: int, now: int) -> int:
        """Give the timestamp of points that were logged now, in milliseconds since 1970."""
        if now > self._newest:
            self._newest = now
            self._forget_before(now)
        else:
            now = self._newest
        timestamp = now
        if step not in self._last:
            self._last[step] = keys, now
        else:
            known = self._known(step)
            timestamp = max(now, max([known.get(key, 0) for key in keys]) + 1)
            known.update(dict.fromkeys(keys, timestamp))
        if timestamp > self._highest:  # noqa: PLR1730 - a call would be felt here
            self._highest = timestamp
        return timestamp

    def _forget_before(self, now: int) -> None:
        """Forget older points, which cannot collide with later ones any more."""
        for step in tuple(self._last):
            kept = {key: last for key, last in self._known(step).items() if last >= now}
            if kept:
                self._last[step] = kept
            else:
                del self._last[step]

    def _known(self, step: int) -> dict[str, int]:
        """Give the last timestamp of each key at a step, to be changed."""
        last = self._last.get(step, {})
        if isinstance(last, tuple):
            last = dict.fromkeys(*last)
        self._last[step] = last
        return last
