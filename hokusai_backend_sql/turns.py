"""Threads that take turns, where a signal handler must not wait for the code that it has interrupted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hokusai_backend_sql.errors import OtherThreadError, SameThreadError


class Turns:
    """Lets one thread in after another; one that is in already is refused, as it is a signal handler."""

    def __init__(self) -> None:
        # Reentrant only for a signal that comes while nothing is done yet, or all is.
        self._lock = threading.RLock()
        self._thread = 0

    @property
    def is_own(self) -> bool:
        """Whether this thread is in."""
        return self._thread == threading.get_ident()

    @contextmanager
    def turn(self, timeout: float = -1) -> Iterator[None]:
        """Wait until no other thread is in, and be in.

        Args:
            timeout: How long to wait, in seconds; -1 for as long as it takes.

        Raises:
            OtherThreadError: Another thread was in for too long.
            SameThreadError: This thread is in.
        """
        if self.is_own:
            raise SameThreadError
        own = threading.get_ident()
        try:
            # Inside the block: Ctrl-C may come when the lock is taken and nothing else is done.
            if not self._lock.acquire(timeout=timeout):
                raise OtherThreadError
            self._thread = own
            yield
        finally:
            if self._thread == own:
                self._thread = 0
            try:  # noqa: SIM105 - Ctrl-C may come in the call of suppress()
                self._lock.release()
            except RuntimeError:  # it was not taken
                pass
