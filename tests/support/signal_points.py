"""A signal at a chosen point of a call of the library, where Python itself would run its handler."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

LIBRARY = tuple(
    str(Path(__file__).parents[2] / package) for package in ("hokusai_core", "hokusai_backend_sql")
)


class SignalPoint:
    """Runs a handler at the n-th point of a call at which Python looks for signals.

    These are the entry of a function, and the return from one that is written in C.

    Args:
        at: The point; 0 for none, which counts them.
        handler: Called once.
    """

    def __init__(self, at: int, handler: Callable[[], object]) -> None:
        self._left = at
        self._handler = handler
        self.points = 0

    def call(self, function: Callable[[], Any]) -> None:
        """Call a function."""
        sys.setprofile(self._look)
        try:
            function()
        finally:
            sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(LIBRARY):
            self.points += 1
            if self.points == self._left:
                sys.setprofile(None)
                self._handler()


def points_of(function: Callable[[], Any]) -> int:
    """Count the points of a call."""
    counter = SignalPoint(0, lambda: None)
    counter.call(function)
    return counter.points


def spread(total: int, most: int) -> range:
    """Choose points from the first to the last, spread over all of them."""
    return range(1, total + 1, max(1, total // most))
