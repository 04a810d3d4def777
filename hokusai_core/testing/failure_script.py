"""The failures that a test tells a mock to have, in the order in which they were told."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from hokusai_core.errors import PermanentError, UnavailableError
from hokusai_core.testing.cuts import Cuts

Answer = TypeVar("Answer")

_Behaviour = Literal["succeed", "fail", "time_out_before", "time_out_after", "delay"]


@dataclass(frozen=True)
class _Step:
    behaviour: _Behaviour
    error: BaseException | None = None


class FailureScript:
    """Decides what becomes of each call to a mock. Thread-safe.

    Steps are taken in order, one for each call. Those that are about the effect of a write are not
    used up by reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: deque[_Step] = deque()
        self._rejections: dict[str, PermanentError] = {}
        self._late: list[Callable[[], object]] = []
        self._down = False
        self.calls: list[tuple[str, str]] = []
        """Every call so far as (hook name, ``op_id``), with "" for reads."""

    def succeed(self, n: int = 1) -> None:
        """Let the next ``n`` writes be carried out, before the steps that are told after this."""
        self._add(_Step("succeed"), n)

    def refuse(self, n: int = 1) -> None:
        """Let the next ``n`` calls raise UnavailableError, as a refused connection does."""
        error = UnavailableError("The mock refuses the connection.", fast=True)
        self._add(_Step("fail", error), n)

    def fail_next(self, error: BaseException, n: int = 1) -> None:
        """Let the next ``n`` calls raise this error, and do nothing."""
        self._add(_Step("fail", error), n)

    def time_out_before_applying(self, n: int = 1) -> None:
        """Let the next ``n`` writes time out, not carried out; the caller cannot know that."""
        self._add(_Step("time_out_before"), n)

    def time_out_after_applying(self, n: int = 1) -> None:
        """Let the next ``n`` writes be carried out, and their answers be lost."""
        self._add(_Step("time_out_after"), n)

    def delay_effect(self, n: int = 1) -> None:
        """Let the next ``n`` writes time out, and take effect at :meth:`land_late_effects`."""
        self._add(_Step("delay"), n)

    def land_late_effects(self) -> int:
        """Carry out the delayed writes, in order; returns how many were accepted."""
        with self._lock:
            late, self._late = self._late, []
        return sum(_accepted(effect) for effect in late)

    def reject(self, kind: str, error: PermanentError) -> None:
        """Let every operation of this kind raise the error, until :meth:`accept`."""
        with self._lock:
            self._rejections[kind] = error

    def accept(self, kind: str) -> None:
        """Take operations of this kind again."""
        with self._lock:
            self._rejections.pop(kind, None)

    def down(self) -> None:
        """Refuse every call, until :meth:`up`."""
        with self._lock:
            self._down = True

    def up(self) -> None:
        """Answer again; steps that were told go on."""
        with self._lock:
            self._down = False

    def forget_steps(self) -> None:
        """Let what was told about coming calls not happen; :meth:`down` and :meth:`reject` stay."""
        with self._lock:
            self._steps.clear()

    @property
    def cuts(self) -> Cuts:
        """The points of the fixture ``cuts`` of a contract: the next write is lost, or its answer."""
        return {
            "before the write is carried out": partial(self._cut, self.time_out_before_applying),
            "after the write is carried out": partial(self._cut, self.time_out_after_applying),
        }

    @contextmanager
    def _cut(self, tell: Callable[[], None]) -> Iterator[None]:
        tell()
        try:
            yield
        finally:
            self.forget_steps()

    def read(self, hook: str, effect: Callable[[], Answer]) -> Answer:
        """Answer a read, or fail as told."""
        self._begin(hook, "", writes=False)
        return effect()

    def write(self, hook: str, kind: str, op_id: str, effect: Callable[[], Answer]) -> Answer:
        """Carry out a write, or fail as told."""
        step = self._begin(hook, op_id, writes=True)
        with self._lock:
            rejection = self._rejections.get(kind)
        if rejection is not None:
            raise rejection
        if step is None or step.behaviour == "succeed":
            return effect()
        if step.behaviour == "time_out_after":
            effect()
        elif step.behaviour == "delay":
            with self._lock:
                self._late.append(effect)
        raise UnavailableError(f"The mock lets {hook} time out.", maybe_applied=True)

    def _add(self, step: _Step, n: int) -> None:
        with self._lock:
            self._steps.extend([step] * n)

    def _begin(self, hook: str, op_id: str, *, writes: bool) -> _Step | None:
        with self._lock:
            self.calls.append((hook, op_id))
            if self._down:
                raise UnavailableError("The mock is down.", fast=True)
            if not self._steps or (not writes and self._steps[0].behaviour != "fail"):
                return None
            step = self._steps.popleft()
        if step.error is not None:
            raise step.error
        return step


def _accepted(effect: Callable[[], object]) -> bool:
    try:
        effect()
    except PermanentError:
        return False
    return True
