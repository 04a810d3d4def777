"""An event that a signal handler may set while the code that it has interrupted sets it."""

import threading


class ReentrantEvent(threading.Event):
    """As :class:`threading.Event`, whose lock, a plain one, would have the handler wait for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._cond = threading.Condition(threading.RLock())
