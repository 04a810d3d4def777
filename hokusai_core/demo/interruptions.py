"""Ctrl-C, and other requests to end, while something is started that would have to be ended again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_REQUESTS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def put_off_interruptions() -> Iterator[None]:
    """Let requests to end come when the block is left, and not in the middle of it.

    Raises:
        KeyboardInterrupt: Where the handler of a request that came raises it; the block is complete.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in that one
        yield
        return
    came: list[int] = []
    before = {
        number: signal.getsignal(number)
        for number in _REQUESTS
        if callable(signal.getsignal(number))
    }
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
