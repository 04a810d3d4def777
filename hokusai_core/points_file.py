"""What a call has logged stands in a file before it returns, until it is appended to the journal.

A file belongs to one process, which holds a lock on it; the system lets go of the lock when the process
ends, however it ends. It may also let go of a file, and begin another. Whoever finds a file that nobody
holds appends what is in it (:mod:`hokusai_core.left_points`). A point that was appended already, because
a process was killed before it could empty or remove the file, is the same point again, which every
backend takes for one.

A write into a file survives ``kill -9``, as the system keeps it, and costs a tenth of a transaction. It
does not survive the loss of power.
"""

import itertools
import json
import os
import struct
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from hokusai_core.packed_points import Points

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".points"

MAGIC = b"hokusai points 1"
"""The beginning of a file, and the version of what follows. Numbers are little-endian."""
TEXT, CALL = 1, 2
"""A record begins with its type and a number. A text is JSON, with its length: number 0 is the
destination, the others are the run and the keys of later calls with that number. A call has a timestamp,
a step, and a value for each key."""
TEXT_HEAD = struct.Struct("<BII")
CALL_HEAD = struct.Struct("<BIqq")

_MOST_TEXTS = 10_000
"""Runs and keys that one file names between two flushes; further calls are appended alone."""

_MOST_NAMED_AHEAD = 100
"""Runs and keys of one file that the next one names before they are logged again."""

_NOBODY: tuple[str, tuple[str, ...], int, struct.Struct] = ("", (), 0, CALL_HEAD)
"""No run with no keys."""


def files_can_be_locked() -> bool:
    """Say whether this system has the locks on which this module depends."""
    return fcntl is not None


class PointsFile:
    """A file that this process writes, made with the first call. For one thread at a time.

    Args:
        folder: Where it is; made if need be.
        destination: Identity of the primary of all that is written.
    """

    def __init__(self, folder: Path, destination: str) -> None:
        self._folder = folder
        self._destination = destination
        self._texts: dict[tuple[str, tuple[str, ...]], tuple[int, struct.Struct]] = {}
        self._last = _NOBODY
        self._naming = False
        self._name_of_all = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._forget()

    def append(self, run_id: str, points: Points) -> None:
        """Write the points of one call.

        Args:
            run_id: Either id of the run.
            points: Checked already.

        Raises:
            OSError: They are not in the file, for example because the disk is full.
        """
        keys, values, timestamp, step = points
        if keys is self._last[1] and run_id is self._last[0]:
            _, _, number, layout = self._last
        else:
            number, layout = self._texts.get((run_id, keys)) or self._name(run_id, keys)
            self._last = run_id, keys, number, layout
        self._write(layout.pack(CALL, number, timestamp, step, *values))

    def extend(self, calls_of_runs: Iterable[tuple[str, Sequence[Points]]]) -> None:
        """Write the points of many calls at once.

        Args:
            calls_of_runs: Either id of each run, and its calls.

        Raises:
            OSError: Not all of them are in the file.
        """
        data = []
        for run_id, calls in calls_of_runs:
            known: tuple[str, ...] | None = None
            for keys, values, timestamp, step in calls:
                if keys is not known:
                    number, layout = self._texts.get((run_id, keys)) or self._name(run_id, keys)
                    known = keys
                data.append(layout.pack(CALL, number, timestamp, step, *values))
        self._write(b"".join(data))

    def pass_on(self) -> Path | None:
        """Let go of the file, so that whoever finds it appends what is in it; gives its path.

        The next file is made at once, as the calls of a loop would feel it, and names the same runs and
        keys. Where that fails, the next call makes one.

        Returns:
            None where no file was made.
        """
        path, names = self._path, tuple(self._texts)
        self.close()
        with suppress(OSError):
            for run_id, keys in names[-_MOST_NAMED_AHEAD:]:
                self._name(run_id, keys)
            self._bare[0] = os.fstat(self._descriptor).st_size
        return path

    def clear(self) -> None:
        """Empty the file: what was in it is in the journal now.

        Raises:
            OSError: It is not empty.
        """
        self._forget_texts()
        if self._descriptor >= 0:
            self._bare[0] = 0
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Let go of the file, which is removed if it is empty. The next call makes another."""
        self._let_go()
        self._forget()

    def abandon(self) -> None:
        """Let go of the file as it is: in a forked child it is the parent's."""
        if self._descriptor >= 0:
            self._keep()
            os.close(self._descriptor)
        self._forget()

    def _forget(self) -> None:
        self._let_go: Callable[[], object] = _nothing
        self._keep: Callable[[], object] = _nothing
        self._descriptor = -1
        self._path: Path | None = None
        self._bare = [0]
        """How many bytes at the beginning of the file hold no call."""
        self._forget_texts()

    def _forget_texts(self) -> None:
        self._texts.clear()
        self._last = _NOBODY

    def _name(self, run_id: str, keys: tuple[str, ...]) -> tuple[int, struct.Struct]:
        """Write the run and the keys of calls that follow; gives the number that stands for them."""
        if self._naming:
            raise OSError("a signal handler logs while a call does")
        if len(self._texts) >= _MOST_TEXTS:
            raise OSError("too many different keys between two flushes")
        self._naming = True
        try:
            if self._descriptor < 0:
                self._make()
            if not self._texts and os.fstat(self._descriptor).st_size == 0:
                self._write(MAGIC + _text(0, [self._destination]))
            # Where Ctrl-C comes in between, the number is given again, and the later text counts.
            known = len(self._texts) + 1, struct.Struct(f"{CALL_HEAD.format}{len(keys)}d")
            self._write(_text(known[0], [run_id, *keys]))
            self._texts[run_id, keys] = known
        finally:
            self._naming = False
        return known

    def _write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        if written != len(data):
            # The disk is full. Half a record would hide those that come after it.
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(f"{written} of {len(data)} bytes were written")

    def _make(self) -> None:
        while True:
            path = self._folder / f"{os.getpid()}-{self._name_of_all}-{next(self._numbers)}{SUFFIX}"
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
            try:
                descriptor = os.open(path, flags, 0o600)
            except FileNotFoundError:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                continue
            if lock(descriptor):
                break
            os.close(descriptor)  # who looks for files of dead processes came in between
        self._descriptor, self._path, self._bare = descriptor, path, [0]
        end = weakref.finalize(self, _close, descriptor, path, self._bare)
        self._let_go, self._keep = end, end.detach


def made_by(path: Path, pid: int) -> bool:
    """Say whether the process with a number has made a file."""
    return path.name.startswith(f"{pid}-")


def _nothing() -> None:
    """There is no file."""


def lock(descriptor: int) -> bool:
    """Lock a file, if nobody holds it and nobody has removed it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _close(descriptor: int, path: Path, bare: list[int]) -> None:
    """Let go of a file, and remove it if no call is in it."""
    with suppress(OSError):
        if os.fstat(descriptor).st_size <= bare[0]:
            path.unlink(missing_ok=True)
    os.close(descriptor)


def _text(number: int, words: list[str]) -> bytes:
    text = json.dumps(words).encode()
    return TEXT_HEAD.pack(TEXT, number, len(text)) + text
