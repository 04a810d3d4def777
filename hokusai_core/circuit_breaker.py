"""A circuit breaker: after failures, calls are not made for a while, and then one probe is.

The pattern is Michael Nygard's (*Release It!*, 2007). This one is a pure state machine over an
injected monotonic clock. Its lock is held for a transition only, never during a call, and listeners
run outside it.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from hokusai_core.clock import Clock
from hokusai_core.errors import CredentialsRejectedError, PermanentError, TransientError

logger = logging.getLogger(__name__)

CircuitState = Literal["closed", "open", "half_open"]
Listener = Callable[[CircuitState, CircuitState], None]


@dataclass(frozen=True)
class Permit:
    """The right to make one call; its outcome has to be reported with it."""

    generation: int
    probe: bool


class CircuitBreaker:
    """Counts failed calls in a row, opens, and lets a single probe try whether the primary is back.

    Args:
        failures: Failed calls in a row that open the circuit.
        open_seconds: How long it is open the first time; doubled with each failed probe.
        open_max_seconds: How long it is open at most.
        probe_seconds: How long a probe may take before it counts as dead and another is let in.
        clock: Monotonic time.
        random_source: Where the jitter of the open time comes from.
        jitter: The share of the open time that chance may take away, from 0 to 1.
    """

    def __init__(
        self,
        *,
        failures: int,
        open_seconds: float,
        open_max_seconds: float,
        probe_seconds: float,
        clock: Clock,
        random_source: random.Random,
        jitter: float = 0.25,
    ) -> None:
        self._threshold = failures
        self._open_seconds = open_seconds
        self._open_max_seconds = open_max_seconds
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._random = random_source
        self._jitter = jitter
        # Reentrant: a signal handler may log in the middle of a call.
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._state: CircuitState = "closed"
        self._failures = 0
        self._openings = 0
        self._generation = 0
        self._permit = Permit(0, probe=False)
        self._open_until = 0.0
        self._probe_until: float | None = None

    @property
    def state(self) -> CircuitState:
        """``closed``, ``open``, or ``half_open`` once the open time is over."""
        with self._lock:
            if self._state == "open" and self._clock.monotonic() >= self._open_until:
                return "half_open"
            return self._state

    def listen(self, listener: Listener) -> None:
        """Call ``listener(old, new)`` after each change of state, in the thread that made it."""
        self._listeners.append(listener)

    def seconds_until_probe(self) -> float:
        """How long until a call may be admitted; 0 where one may be now."""
        if self._state == "closed":
            return 0.0
        with self._lock:
            now = self._clock.monotonic()
            if self._state == "open":
                return max(0.0, self._open_until - now)
            if self._state == "half_open" and self._probe_until is not None:
                return max(0.0, self._probe_until - now)
            return 0.0

    def admit(self, *, insist: bool = False) -> Permit | None:
        """Ask to make a call. None means no: the circuit is open, or its probe is under way.

        Args:
            insist: Make the call in any case, as a probe: there is nobody else to ask.
        """
        permit = self._permit
        if self._state == "closed" and permit.generation == self._generation:
            return permit
        with self._lock:
            old = self._state
            if old == "closed":
                if self._permit.generation != self._generation:
                    self._permit = Permit(self._generation, probe=False)
                return self._permit
            now = self._clock.monotonic()
            if self._state == "open" and now < self._open_until and not insist:
                return None
            if (
                self._state == "half_open"
                and not insist
                and self._probe_until is not None
                and now < self._probe_until
            ):
                return None
            self._state = "half_open"
            self._generation += 1
            self._probe_until = now + self._probe_seconds
            permit = Permit(self._generation, probe=True)
        self._notify(old, "half_open")
        return permit

    @contextmanager
    def judging(self, permit: Permit) -> Iterator[None]:
        """Report the outcome of the block, which makes the call, by the exception that leaves it.

        A :class:`TransientError` is a failure; a :class:`PermanentError` is an answer, and so is the
        server's refusal of one thing. Whatever else tells nothing about the server.
        """
        try:
            yield
        except CredentialsRejectedError as failure:
            if failure.this_only:
                self.succeeded(permit)
            else:
                self.failed(permit)
            raise
        except TransientError as failure:
            self.failed(permit, failure.retry_after)
            raise
        except PermanentError:
            self.succeeded(permit)
            raise
        except BaseException:
            self.abandoned(permit)
            raise
        self.succeeded(permit)

    def succeeded(self, permit: Permit) -> None:
        """Report that the call was answered. A late answer from before the opening changes nothing."""
        if self._state == "closed" and not self._failures:
            return
        with self._lock:
            if permit.generation != self._generation:
                return
            old = self._state
            self._state = "closed"
            self._failures = 0
            self._openings = 0
            self._probe_until = None
        if old != "closed":
            self._notify(old, "closed")

    def failed(self, permit: Permit, retry_after: float | None = None) -> None:
        """Report that the call was not answered.

        Args:
            permit: The call's.
            retry_after: Seconds that the server asks to be left alone; an opening lasts as long.
        """
        with self._lock:
            if permit.generation != self._generation:
                return
            self._failures += 1
            if not permit.probe and self._failures < self._threshold:
                return
            old = self._state
            self._state = "open"
            self._generation += 1
            self._probe_until = None
            seconds = min(
                self._open_max_seconds, self._open_seconds * 2.0 ** min(self._openings, 60)
            )
            share = self._random.uniform(1.0 - self._jitter, 1.0)
            self._open_until = self._clock.monotonic() + max(seconds * share, retry_after or 0.0)
            self._openings += 1
        self._notify(old, "open")

    def abandoned(self, permit: Permit) -> None:
        """Report that the call was not made after all, or ended without telling anything."""
        with self._lock:
            if permit.probe and permit.generation == self._generation:
                self._probe_until = self._clock.monotonic()

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.RLock()

    def _notify(self, old: CircuitState, new: CircuitState) -> None:
        if old == new:
            return
        for listener in tuple(self._listeners):
            try:
                listener(old, new)
            except Exception:
                logger.exception("A listener of the circuit breaker failed; the circuit goes on.")
