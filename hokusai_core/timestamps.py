"""Times of metric points where the caller gives none."""

import threading
import time


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
        self._last: dict[tuple[str, int], int] = {}

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.Lock()

    def next(self, key: str, step: int) -> int:
        """Give the timestamp of a point that is logged now, in milliseconds since 1970."""
        now = (self._offset + time.monotonic_ns()) // 1_000_000
        with self._lock:
            if now > self._newest:
                # Older points cannot collide with later ones any more.
                self._last = {pair: last for pair, last in self._last.items() if last >= now}
                self._newest = now
            timestamp = max(now, self._last.get((key, step), 0) + 1)
            self._last[key, step] = timestamp
            return timestamp

    def seen(self, key: str, step: int, timestamp: int) -> None:
        """Remember a timestamp that the caller gave."""
        with self._lock:
            if timestamp >= self._newest:
                self._last[key, step] = max(timestamp, self._last.get((key, step), 0))
