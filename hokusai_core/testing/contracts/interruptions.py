"""How a contract cuts writes off, and looks at what is left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import JournalUnavailableError, TransientError
from hokusai_core.testing.cuts import Cut, Cuts

Reopen = Callable[[], OpenBackend]


class Interruptions:
    """Fixtures of the clauses about writes that are cut off; a part of each contract."""

    @pytest.fixture
    def cuts(self) -> Cuts:
        """The points at which the backend can be cut off; none, unless a subclass gives them."""
        return {}

    @pytest.fixture
    def reopen(self, backend: OpenBackend) -> Reopen:
        """Gives the backend as a new process finds it; the same one, unless a subclass says how."""
        return lambda: backend


class CutWrites:
    """Cuts writes off at one point after the other.

    Args:
        cuts: The points; the test is skipped where there are none.
    """

    def __init__(self, cuts: Cuts) -> None:
        if not cuts:
            pytest.skip("The fixture `cuts` gives no points at which the backend can be cut off.")
        self._cuts = cuts
        self._reached: set[str] = set()

    def points(self) -> Iterator[str]:
        """Give each point; at the end, fail where no write came to any of them."""
        yield from self._cuts
        if not self._reached:
            pytest.fail(f"No write came to any of the points {', '.join(self._cuts)}.")

    @contextmanager
    def at(self, point: str) -> Iterator[None]:
        """Cut the writes of the block off at a point, and take the way in which that shows."""
        try:
            with self._cuts[point]():
                yield
        except (Cut, JournalUnavailableError):
            self._reached.add(point)
        except TransientError as error:
            if not error.maybe_applied:
                pytest.fail(f"{point}: {error!r} denies that the write may have been applied.")
            self._reached.add(point)
