"""Ctrl-C, and other requests to end, while something is started that would have to be ended again."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hokusai_core.signal_handlers import signals_handled

_REQUESTS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def put_off_interruptions() -> Iterator[None]:
    """Let requests to end come when the block is left, and not in the middle of it.

    Raises:
        KeyboardInterrupt: Where the handler of a request that came raises it; the block is complete.
    """
    came: list[int] = []
    heard = [number for number in _REQUESTS if callable(signal.getsignal(number))]
    try:
        with signals_handled(heard, lambda number, _: came.append(number)):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)
