"""Metrics that are not in the journal yet: where queued delivery holds them, and how they get there."""

import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from hokusai_core.errors import ConfigurationError
from hokusai_core.fallback import FallbackStore
from hokusai_core.filed_group_commit import FiledGroupCommit
from hokusai_core.group_commit import AtOnce, GroupCommit
from hokusai_core.left_points import LeftPoints
from hokusai_core.outage_buffer import OutageBuffer, QueuedInOutage
from hokusai_core.points_file import PointsFile, files_can_be_locked
from hokusai_core.points_relay import PointsRelay
from hokusai_core.settings import Settings
from hokusai_core.streams import StreamStates
from hokusai_core.waiting_points import WaitingPoints

_POLL_SECONDS = 0.01


class BufferedPoints:
    """The buffer of one runtime, and the files that ended processes left beside its journal.

    Args:
        settings: Delivery and durability.
        destination: Identity of the primary.
        fallback: The journal; None without one.
        streams: Knows the buffers of all runtimes of this destination.
        local_folder: Gives the folder for files of points; None where the journal is no local file.
            Called with the first use, as it may import a driver.
        on_adopted: Called with destination and stream of what another process had left.
        relay_ready: Says whether a process of this one's own appends what it is passed on.
        on_passed: Called when there is something for that process.
        waiting_points: Gives what knows whether points have to wait; None without a journal.

    Raises:
        ConfigurationError: Queued delivery without a journal.
    """

    def __init__(
        self,
        settings: Settings,
        destination: str,
        fallback: FallbackStore | None,
        streams: StreamStates,
        local_folder: Callable[[], Path | None],
        on_adopted: Callable[[str, str], None],
        relay_ready: Callable[[], bool],
        on_passed: Callable[[], None],
        waiting_points: Callable[[], WaitingPoints | None],
    ) -> None:
        if settings.delivery == "queued" and fallback is None:
            raise ConfigurationError(
                'delivery="queued" (HOKUSAI_DELIVERY) needs a journal, and there is none '
                "(HOKUSAI_FALLBACK). Install hokusai-tracking[sql], or use direct delivery."
            )
        self._settings = settings
        self._destination = destination
        self._fallback = fallback
        self._streams = streams
        self._local_folder = local_folder
        self._on_adopted = on_adopted
        self._relay_ready = relay_ready
        self._on_passed = on_passed
        self._in_outages = OutageBuffer(waiting_points, self._made_in_outage)
        self._made: GroupCommit | None = None
        self._making = threading.RLock()

    def buffer(self) -> GroupCommit | OutageBuffer | AtOnce:
        """Give what takes the metrics of tight loops."""
        if self._settings.durability == "machine":
            return AtOnce()
        if self._settings.delivery != "queued":
            return self._in_outages
        in_call = self._settings.durability == "process"
        folder = self._folder
        if in_call and folder is None:
            return AtOnce()
        with self._making:
            if self._made is None:
                if folder is None:
                    made = GroupCommit()
                elif in_call:
                    made = FiledGroupCommit(self._two_files(folder), self._new_relay())
                else:
                    made = GroupCommit((self._new_file(folder),), self._new_relay())
                self._streams.add_buffer(made)
                self._made = self._made or made  # a signal handler may have made one meanwhile
            return self._made

    def gather(self) -> None:
        """Append what is not in the journal yet: this process's own, and what ended processes left.

        Raises:
            NotStoredError: Journal and spool do not take this process's own.
        """
        self._streams.flush()
        if self._left_points is not None:
            self._left_points.adopt()

    def gather_from(self, pid: int, timeout: float) -> None:
        """Append what a process left that was killed just now.

        The system closes its pipes and its files one after another, so one who saw a pipe end may find
        a file that is still held.

        Args:
            pid: The number of the process.
            timeout: How long to wait for its files, in seconds.
        """
        if self._left_points is None:
            return
        until = time.monotonic() + timeout
        while True:
            self._left_points.adopt()
            if not self._left_points.any_of(pid) or time.monotonic() >= until:
                return
            time.sleep(_POLL_SECONDS)

    def flush_at_the_end(self) -> None:
        """Append what this runtime's buffer holds; where that fails, say what becomes of it."""
        if self._made is not None:
            self._made.flush_at_the_end()

    def close(self) -> None:
        """Let go of the files; the next metric makes another."""
        if self._made is not None:
            self._made.close()

    def reset_after_fork(self) -> None:
        """In a forked child: the parent appends what is in its buffer."""
        self._making = threading.RLock()
        if self._made is not None:
            self._made.reset_after_fork()
        self._in_outages.reset_after_fork()

    def _made_in_outage(
        self, waiting_points: WaitingPoints, adding: threading.RLock
    ) -> QueuedInOutage | None:
        if self._folder is None:
            return None
        made = QueuedInOutage(self._two_files(self._folder), waiting_points, adding)
        self._made = made
        self._streams.add_buffer(made)
        return made

    def _two_files(self, folder: Path) -> tuple[PointsFile, PointsFile]:
        return self._new_file(folder), self._new_file(folder)

    def _new_file(self, folder: Path) -> PointsFile:
        return PointsFile(folder, self._destination)

    def _new_relay(self) -> PointsRelay | None:
        if self._left_points is None:
            return None
        return PointsRelay(self._left_points, self._relay_ready, self._on_passed)

    @cached_property
    def _folder(self) -> Path | None:
        return self._local_folder() if files_can_be_locked() else None

    @cached_property
    def _left_points(self) -> LeftPoints | None:
        if self._fallback is None or self._folder is None:
            return None
        return LeftPoints(self._folder, self._fallback, self._on_adopted)
