"""A value that is made with its first use, once, also among threads."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """Calls a factory with the first :meth:`get`; a factory that raises is called again next time."""

    def __init__(self, factory: Callable[[], T]) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        self._value: T | None = None

    def get(self) -> T:
        """Give the value, made if need be."""
        value = self._value
        if value is None:
            with self._lock:
                if self._value is None:
                    self._value = self._factory()
                value = self._value
        return value

    def opened(self) -> T | None:
        """Give the value if it was made."""
        return self._value

    def forget(self) -> None:
        """Let the next :meth:`get` make a new value."""
        self._value = None

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.Lock()
