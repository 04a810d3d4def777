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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from hokusai_core.errors import NotStoredError
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

MOST_NAMED_AHEAD = 100
"""Runs and keys of one file that the next one names before they are logged again; with more, none."""

_NOBODY: tuple[str, tuple[str, ...], int, struct.Struct] = ("", (), 0, CALL_HEAD)
"""No run with no keys."""

_Names = dict[tuple[str, tuple[str, ...]], tuple[int, struct.Struct, bytes]]
"""By run and keys: the number that stands for them, how a call is laid out, and the text."""


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
        self._beginning = MAGIC + _text(0, [destination])
        self._names: _Names = {}
        self._names_at_once = 0
        """How many of them, in their order, are in the file before the first call."""
        self._last = _NOBODY
        self._naming = False
        self._name_of_all = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._held = _Held()
        weakref.finalize(self, self._held.let_go)

    @property
    def path(self) -> Path | None:
        """Where the file is; None while there is none."""
        return self._held.path

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return self._folder

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
            number, layout, _ = self._names.get((run_id, keys)) or self._name(run_id, keys)
            self._last = run_id, keys, number, layout
        try:
            _write_whole(self._held.descriptor, layout.pack(CALL, number, timestamp, step, *values))
        except _HalfWrittenError:
            self.abandon()
            raise

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
                    number, layout, _ = self._names.get((run_id, keys)) or self._name(run_id, keys)
                    known = keys
                data.append(layout.pack(CALL, number, timestamp, step, *values))
        try:
            _write_whole(self._held.descriptor, b"".join(data))
        except _HalfWrittenError:
            self.abandon()
            raise

    def pass_on(self) -> Path | None:
        """Let go of the file, so that whoever finds it appends what is in it; gives its path.

        The next file is made at once, as the calls of a loop would feel it, and names the same runs and
        keys. Where that fails, the next call makes one.

        Returns:
            None where no file was made.
        """
        path, names = self._held.path, self._names
        self.close()
        if path is not None:
            with suppress(OSError):
                self._make(names if len(names) <= MOST_NAMED_AHEAD else {})
        return path

    def clear(self) -> None:
        """Empty the file: what was in it is in the journal now.

        Raises:
            OSError: It is not empty.
        """
        self._last = _NOBODY
        self._names = dict(itertools.islice(self._names.items(), self._names_at_once))
        if self._held.descriptor >= 0:
            os.ftruncate(self._held.descriptor, self._held.bare)

    def close(self) -> None:
        """Let go of the file, which is removed if no call is in it. The next call makes another."""
        self._forget_names()
        self._held.let_go()

    def abandon(self) -> None:
        """Let go of the file as it is: in a forked child it is the parent's."""
        self._naming = False  # another thread may have been at it when the process forked
        self._forget_names()
        _, descriptor = self._held.forget()
        if descriptor >= 0:
            os.close(descriptor)

    def _forget_names(self) -> None:
        self._last, self._names, self._names_at_once = _NOBODY, {}, 0

    def _name(self, run_id: str, keys: tuple[str, ...]) -> tuple[int, struct.Struct, bytes]:
        """Write the run and the keys of calls that follow; gives what stands for them."""
        if self._naming:
            raise OSError("a signal handler logs while a call does")
        if len(self._names) >= _MOST_TEXTS:
            raise OSError("too many different keys between two flushes")
        self._naming = True
        try:
            if self._held.descriptor < 0:
                self._make({})
            # Where Ctrl-C comes in between, the number is given again, and the later text counts.
            number = len(self._names) + 1
            text = _text(number, [run_id, *keys])
            try:
                _write_whole(self._held.descriptor, text)
            except _HalfWrittenError:
                self.abandon()
                raise
            name = number, struct.Struct(f"{CALL_HEAD.format}{len(keys)}d"), text
            self._names[run_id, keys] = name
        finally:
            self._naming = False
        return name

    def _make(self, names: _Names) -> None:
        """Make a file that names runs and keys."""
        beginning = self._beginning + b"".join([text for _, _, text in names.values()])
        while True:
            path = self._folder / f"{os.getpid()}-{self._name_of_all}-{next(self._numbers)}{SUFFIX}"
            try:
                descriptor = _new_locked(path, beginning)
            except FileNotFoundError:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                continue
            if descriptor is not None:
                break
        self._held.hold(descriptor, path, len(beginning))
        # Last: where Ctrl-C comes before, each name is written again.
        self._names, self._names_at_once = names, len(names)


class _HalfWrittenError(OSError):
    """Half a record is at the end of the file, so that nothing may come after it."""


class _Held:
    """The file that is held, apart from its owner, so that it is let go when that is forgotten."""

    def __init__(self) -> None:
        self.descriptor = -1
        self.path: Path | None = None
        self.bare = 0
        """How many bytes at the beginning of the file hold no call."""

    def hold(self, descriptor: int, path: Path, bare: int) -> None:
        """Hold a file in the place of none."""
        self.path, self.bare, self.descriptor = path, bare, descriptor

    def let_go(self) -> None:
        """Let go of the file, if one is held, and remove it if no call is in it."""
        path, descriptor = self.forget()
        if descriptor < 0:
            return
        with suppress(OSError):
            if path is not None and os.fstat(descriptor).st_size <= self.bare:
                path.unlink(missing_ok=True)
        os.close(descriptor)

    def forget(self) -> tuple[Path | None, int]:
        """Hold nothing; gives path and descriptor of what was held.

        Forgotten first: a child that is forked meanwhile must not close what has the number by then.
        """
        held = self.path, self.descriptor
        self.path, self.descriptor = None, -1
        return held


def still_in_file(path: Path, failure: Exception) -> NotStoredError:
    """Give the error for points that the journal did not take.

    That of the store says that they are kept nowhere; but they are in the file.
    """
    causes = getattr(failure, "causes", None) or (failure,)
    return NotStoredError(
        f"Metrics in {path} could not be appended to the journal. They stay there, and "
        f"this is tried again; `hokusai doctor` says what is wrong. {causes[-1]}",
        causes,
    )


def made_by(path: Path, pid: int) -> bool:
    """Say whether the process with a number has made a file."""
    return path.name.startswith(f"{pid}-")


def lock(descriptor: int) -> bool:
    """Lock a file, if nobody holds it and nobody has removed it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _new_locked(path: Path, beginning: bytes) -> int | None:
    """Make a file that this process holds; None where who looks for files of dead processes took it."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        if lock(descriptor):
            _write_whole(descriptor, beginning)
            return descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all or nothing.

    Raises:
        _HalfWrittenError: A part of it is in the file, and cannot be taken back.
        OSError: It is not written.
    """
    written = os.write(descriptor, data)
    if written != len(data):
        # The disk is full. Half a record would hide those that come after it.
        told = f"{written} of {len(data)} bytes were written"
        try:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        except OSError as cause:  # some file systems need room for that, too
            raise _HalfWrittenError(told) from cause
        raise OSError(told)


def _text(number: int, words: list[str]) -> bytes:
    text = json.dumps(words).encode()
    return TEXT_HEAD.pack(TEXT, number, len(text)) + text
