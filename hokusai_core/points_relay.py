"""Files of metrics that this process lets go, for the process that delivers to append to the journal.

To build operations and to write them into the journal takes a thread of the job some milliseconds in
each second, and its loop feels those in which it holds the interpreter's lock. Where a process of its
own delivers, that process does this, too: what is logged stands in a file, and whoever finds a file that
nobody holds appends it (:mod:`hokusai_core.left_points`).
"""

import time
from collections.abc import Callable
from pathlib import Path

from hokusai_core.errors import JournalUnavailableError, NotStoredError
from hokusai_core.left_points import LeftPoints
from hokusai_core.points_file import PointsFile, still_in_file

_PATIENCE_SECONDS = 5.0
"""How long a file that another process holds is left to it."""

_GATHER_SECONDS = 0.95
"""How long a file gathers points, from the first ones that are written into it."""

_POLL_SECONDS = 0.002


class PointsRelay:
    """Passes on files of one buffer, and knows which of them nobody has appended yet.

    Args:
        left: Appends what nobody has appended, once it is waited for.
        ready: Says whether there is a process that appends.
        on_passed: Called when there is a file for it.
    """

    def __init__(
        self, left: LeftPoints, ready: Callable[[], bool], on_passed: Callable[[], None]
    ) -> None:
        self._left = left
        self._ready = ready
        self._on_passed = on_passed
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._files: dict[Path, int] = {}
        """The number of points in each."""
        self._gathering: PointsFile | None = None
        self._gathered = 0
        self._due = 0.0

    @property
    def ready(self) -> bool:
        """Whether there is a process that appends."""
        return self._ready()

    @property
    def count(self) -> int:
        """How many points stand in files that nobody has appended yet."""
        self._forget_appended()
        return self.count_before

    @property
    def count_before(self) -> int:
        """As many as :attr:`count`, or more: gone files were last looked for when one was passed on."""
        return sum(self._files.values()) + self._gathered

    def add(self, file: PointsFile, count: int, *, at_once: bool) -> None:
        """Points were written into a file; it is passed on once it has gathered them for a while.

        Args:
            file: The same for all calls of this method until it is passed on.
            count: How many points.
            at_once: Do not let more gather.
        """
        self.gather(file, count)
        if at_once or time.monotonic() >= self._due:
            self.pass_on()

    def gather(self, file: PointsFile, count: int) -> None:
        """Points were written into a file, which :meth:`pass_on` lets go of, and not this call."""
        if self._gathering is None:
            self._gathering = file
            self._due = time.monotonic() + _GATHER_SECONDS
        self._gathered += count

    def pass_on(self) -> None:
        """Let go of the file that gathers points, if there is one."""
        if self._gathering is None:
            return
        path = self._gathering.pass_on()
        self._forget_appended()
        if path is not None:
            self._files[path] = self._gathered
        # Last: where Ctrl-C comes before, a file without points is passed on, too.
        self._gathering, self._gathered = None, 0
        self._on_passed()

    def settle(self) -> None:
        """Have everything in the journal that was passed on before.

        Raises:
            NotStoredError: Journal and spool failed; what is left stays in its file.
        """
        self.pass_on()
        until = time.monotonic() + _PATIENCE_SECONDS
        for path in tuple(self._files):
            try:
                while not self._left.settle(path, insist=time.monotonic() >= until):
                    time.sleep(_POLL_SECONDS)
            except (OSError, JournalUnavailableError, NotStoredError) as cause:
                raise still_in_file(path, cause) from cause
            self._files.pop(path, None)

    def _forget_appended(self) -> None:
        for path in tuple(self._files):
            if not path.exists():
                self._files.pop(path, None)

    def reset_after_fork(self) -> None:
        """In a forked child: what the parent passed on is the parent's."""
        self._begin_anew()
