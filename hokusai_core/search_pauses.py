"""How long an id that nobody knew is not searched for again."""

from typing import NamedTuple

_MOST_REMEMBERED = 10_000

_FIRST_SECONDS = 4.0
"""A little less than the time after which a worker looks again, so that no look just misses it."""

_LONGEST_SECONDS = 300.0


class _InVain(NamedTuple):
    """A search that found nothing: how long to pause after it, and until when."""

    pause: float
    until: float


class SearchPauses:
    """Pauses between searches for an id, each twice as long as the one before.

    A server may have to look through all that it has. One for each destination and process, shared by
    its workers; what it forgets is searched for once more.
    """

    def __init__(self) -> None:
        self._in_vain: dict[str, _InVain] = {}

    def is_over(self, identifier: str, now: float) -> bool:
        """Say whether an id may be searched for.

        Args:
            identifier: The id.
            now: Monotonic seconds.
        """
        last = self._in_vain.get(identifier)
        return last is None or now >= last.until

    def begin(self, identifier: str, now: float) -> None:
        """Pause after a search that found nothing, longer than the last time."""
        last = self._in_vain.get(identifier)
        pause = min(last.pause * 2, _LONGEST_SECONDS) if last else _FIRST_SECONDS
        if len(self._in_vain) >= _MOST_REMEMBERED:
            self._in_vain.clear()
        self._in_vain[identifier] = _InVain(pause, now + pause)

    def forget(self, identifier: str) -> None:
        """The id was found."""
        self._in_vain.pop(identifier, None)
