"""Handlers of signals that count for a while."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals_handled(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], object]
) -> Iterator[None]:
    """Let a handler have signals while the block runs, and those of before in the end.

    Handlers run in the main thread, and can be set there only: in another thread nothing is done.

    Args:
        numbers: The signals.
        handler: Called with the number of a signal that came, and the frame in which it did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
