"""The failures that a test tells the journal in memory to have."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hokusai_core.errors import JournalUnavailableError
from hokusai_core.testing.cuts import Cuts


class JournalFaults:
    """Decides whether a call is answered. Thread-safe.

    Args:
        now: The journal's clock, in seconds since 1970.

    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._down = False
        self._answers_to_lose: list[str] = []

    def down(self) -> None:
        """Let every call raise JournalUnavailableError, until :meth:`up`."""
        with self._lock:
            self._down = True

    def up(self) -> None:
        """Answer again."""
        with self._lock:
            self._down = False

    def lose_commit_answer(self, n: int = 1, hook: str = "") -> None:
        """Let the next ``n`` changes be made and then raise JournalUnavailableError.

        ``hook`` selects one kind of change ("journal_settle"); "" takes any.
        """
        with self._lock:
            self._answers_to_lose.extend([hook] * n)

    @property
    def cuts(self) -> Cuts:
        """The points of the fixture ``cuts`` of a contract: a change is lost, or its answer."""
        return {
            "before the change is made": self._cut_before,
            "after the change is made": self._cut_after,
        }

    def _check(self) -> float:
        """Give the time, unless the journal is down."""
        if self._down:
            raise JournalUnavailableError("The journal in memory is down.")
        return self._now()

    def _commit(self, hook: str) -> None:
        """End a change; its answer may be lost."""
        for index, wished in enumerate(self._answers_to_lose):
            if wished in ("", hook):
                del self._answers_to_lose[index]
                raise JournalUnavailableError(
                    f"The answer of the journal in memory to {hook} is lost.", maybe_applied=True
                )

    @contextmanager
    def _cut_before(self) -> Iterator[None]:
        self.down()
        try:
            yield
        finally:
            self.up()

    @contextmanager
    def _cut_after(self) -> Iterator[None]:
        self.lose_commit_answer()
        try:
            yield
        finally:
            with self._lock:
                self._answers_to_lose.clear()
