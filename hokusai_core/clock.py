"""Time as an injected dependency, and deadlines made of it."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the machinery needs to know of time; tests give their own."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock. ``CLOCK_BOOTTIME`` where there is one: it goes on during suspend."""

    _clock_id = getattr(time, "CLOCK_BOOTTIME", None)

    def monotonic(self) -> float:
        """Seconds since boot, suspend included where the system tells it."""
        return time.monotonic() if self._clock_id is None else time.clock_gettime(self._clock_id)

    def sleep(self, seconds: float) -> None:
        """Wait; returns early only at an exception (Ctrl-C)."""
        if seconds > 0:
            threading.Event().wait(seconds)


class Deadline:
    """A point in time by which a call has to be over.

    Args:
        seconds: From now.
        clock: Where now comes from.

    """

    def __init__(self, seconds: float, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._at = self._clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self._at - self._clock.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0.0

    def at_most(self, seconds: float) -> float:
        """Give ``seconds``, or what is left where that is less."""
        return min(seconds, self.remaining())
