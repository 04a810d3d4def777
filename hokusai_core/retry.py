"""Trying again inside one call, within its time."""

import random
from collections.abc import Callable
from typing import TypeVar

from hokusai_core.clock import Clock, Deadline
from hokusai_core.errors import TransientError

T = TypeVar("T")

_BASE_SECONDS = 0.05
_CAP_SECONDS = 2.0


def full_jitter(attempt: int, random_source: random.Random, *, base: float, cap: float) -> float:
    """Give a random wait before the next attempt, in seconds.

    Uniform between nothing and ``base * 2**(attempt - 1)``, at most ``cap``: the "full jitter" of
    Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    return random_source.uniform(0.0, min(cap, base * 2.0 ** min(attempt - 1, 60)))


class Retry:
    """Repeats a call after failures that came fast, as long as its deadline allows.

    Args:
        attempts: Most attempts in all.
        clock: Sleeps between attempts.
        random_source: Where the jitter comes from.
    """

    def __init__(self, attempts: int, clock: Clock, random_source: random.Random) -> None:
        self._attempts = attempts
        self._clock = clock
        self._random = random_source

    def call(self, function: Callable[[], T], deadline: Deadline, *, repeatable: bool) -> T:
        """Call the function until it succeeds, fails for good, or no attempt is left.

        Args:
            function: What to try.
            deadline: Nothing is tried again that cannot begin before it.
            repeatable: Whether an attempt that may have been applied can be repeated: not where it
                would create a second object.

        Raises:
            TransientError: Of the last attempt. ``maybe_applied`` is set if any attempt may have
                been applied.
            PermanentError: At once.
        """
        maybe_applied = False
        for attempt in range(1, self._attempts + 1):
            try:
                return function()
            except TransientError as failure:
                maybe_applied = failure.maybe_applied = maybe_applied or failure.maybe_applied
                if not self._may_repeat(failure, attempt, repeatable=repeatable):
                    raise
                wait = failure.retry_after or full_jitter(
                    attempt, self._random, base=_BASE_SECONDS, cap=_CAP_SECONDS
                )
                if wait >= deadline.remaining():
                    raise
                self._clock.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _may_repeat(self, failure: TransientError, attempt: int, *, repeatable: bool) -> bool:
        if attempt >= self._attempts or not failure.fast:
            return False
        return repeatable or not failure.maybe_applied
