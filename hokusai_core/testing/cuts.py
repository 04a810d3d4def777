"""Points at which a test cuts a backend off in the middle of a write.

A write that is cut off ends as in a kill, a power cut or a lost connection: nobody hears how it
ended. A backend offers the contracts some points at which that may happen, as a mapping of names to
functions; each gives a context manager, inside of which the next write is cut off at that point. One
that runs in the test's process marks the points in its code with :class:`FaultPoints`; one that talks
to a server cuts the connection instead.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial

Cuts = Mapping[str, Callable[[], AbstractContextManager[object]]]
"""By the name of a point: what cuts the next write off there."""


class Cut(BaseException):
    """The write ends here, as in a kill; no ``except Exception`` of a backend sees it.

    Args:
        point: Where.
    """

    def __init__(self, point: str) -> None:
        super().__init__(f"I was cut here: {point}.")
        self.point = point


class FaultPoints:
    """The points of a backend that runs in the test's process. Thread-safe.

    The backend calls :meth:`reach` at each of them, which does nothing unless a test has armed it::

        class MyBackend:
            faults = FaultPoints("before the line is written", "after the line is written")

    Args:
        names: What the points are called.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        self._lock = threading.Lock()
        self._armed: set[str] = set()

    def reach(self, name: str) -> None:
        """Go on, or raise :class:`Cut` where a test has armed this point.

        Raises:
            ValueError: There is no such point.
        """
        self._known(name)
        with self._lock:
            if name not in self._armed:
                return
            self._armed.discard(name)
        raise Cut(name)

    @contextmanager
    def cut_at(self, name: str) -> Iterator[None]:
        """Arm a point for the time of the block; it cuts once.

        Raises:
            ValueError: There is no such point.
        """
        self._known(name)
        with self._lock:
            self._armed.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._armed.discard(name)

    @property
    def cuts(self) -> Cuts:
        """The points as the fixture ``cuts`` of a contract gives them."""
        return {name: partial(self.cut_at, name) for name in self.names}

    def _known(self, name: str) -> None:
        if name not in self.names:
            raise ValueError(f"No point is called {name!r}; there are {', '.join(self.names)}.")
