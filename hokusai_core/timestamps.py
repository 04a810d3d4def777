"""Times of metric points where the caller gives none."""

import threading
import time
from collections.abc import Collection


class PointTimestamps:
    """Gives timestamps that strictly increase for each (key, step).

    MLflow's table of metrics absorbs points that are equal in key, value, step and timestamp, so two
    equal values logged within one millisecond would become one. The clock is the wall clock at the
    start plus monotonic time since, so that a jump of the wall clock reorders nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = time.time_ns() - time.monotonic_ns()
        self._newest = 0
        self._highest = 0
        self._last: dict[int, dict[str, int]] = {}
        """The last timestamp of each key, by step."""

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.Lock()

    def next(self, keys: Collection[str], step: int) -> int:
        """Give the timestamp of points that are logged now, in milliseconds since 1970.

        Args:
            keys: Their keys, at least one; they get one time.
            step: Their step.
        """
        now = (self._offset + time.monotonic_ns()) // 1_000_000
        with self._lock:
            if now > self._newest:
                self._newest = now
                self._forget_before(now)
            known = self._last.get(step)
            if known is None:
                timestamp = now
                self._last[step] = dict.fromkeys(keys, now)
            else:
                timestamp = max(now, max([known.get(key, 0) for key in keys]) + 1)
                known.update(dict.fromkeys(keys, timestamp))
            self._highest = max(timestamp, self._highest)
            return timestamp

    def seen(self, keys: Collection[str], step: int, timestamp: int) -> None:
        """Remember a timestamp that the caller gave."""
        with self._lock:
            if timestamp < self._newest:
                return
            known = self._last.setdefault(step, {})
            known.update({key: max(timestamp, known.get(key, 0)) for key in keys})
            self._highest = max(timestamp, self._highest)

    def _forget_before(self, now: int) -> None:
        """Forget older points, which cannot collide with later ones any more."""
        if self._highest < now:
            self._last = {}
            return
        kept = {
            step: {key: last for key, last in known.items() if last >= now}
            for step, known in self._last.items()
        }
        self._last = {step: known for step, known in kept.items() if known}
