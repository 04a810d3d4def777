"""A value that is made with its first use, once, also among threads."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from hokusai_core.errors import HokusaiError, UnavailableError

T = TypeVar("T")


class Lazy(Generic[T]):
    """Calls a factory with the first :meth:`get`; a factory that raises is called again next time.

    Args:
        factory: Makes the value.
        unfinished: The error, made of a message, for a signal handler that asks for the value while the
            code that it has interrupted makes it: no waiting would help.
    """

    def __init__(
        self,
        factory: Callable[[], T],
        unfinished: Callable[[str], HokusaiError] = UnavailableError,
    ) -> None:
        self._factory = factory
        self._unfinished = unfinished
        self._value: T | None = None
        self._making = False
        self.reset_after_fork()

    def get(self) -> T:
        """Give the value, made if need be.

        Raises:
            HokusaiError: ``unfinished``, or what the factory raises.
        """
        value = self._value
        if value is None:
            with self._lock:
                value = self._value
                if value is None:
                    value = self._value = self._make()
        return value

    def _make(self) -> T:
        if self._making:
            raise self._unfinished(
                "A signal handler came while this thread was opening it, so it cannot be used yet. "
                "Call again outside the handler."
            )
        try:
            self._making = True
            return self._factory()
        finally:
            self._making = False

    def opened(self) -> T | None:
        """Give the value if it was made."""
        return self._value

    def forget(self) -> None:
        """Let the next :meth:`get` make a new value."""
        self._value = None

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        # Reentrant, so that a signal handler gets an error in the place of standing still for ever.
        self._lock = threading.RLock()
        self._making = False
