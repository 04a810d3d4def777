"""Files of points that nobody holds are read, appended to the journal, and removed.

Processes that have ended left them, or living ones let go of them (:mod:`hokusai_core.points_relay`).
"""

import contextlib
import json
import logging
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hokusai_core.errors import JournalUnavailableError, NotStoredError
from hokusai_core.fallback import FallbackStore
from hokusai_core.identifiers import creation_of
from hokusai_core.packed_points import Points
from hokusai_core.points import PointsEntry, split_points
from hokusai_core.points_file import CALL, CALL_HEAD, MAGIC, SUFFIX, TEXT, TEXT_HEAD, lock, made_by

logger = logging.getLogger(__name__)


class LeftPoints:
    """Appends to the journal what is in files that nobody writes any more.

    Args:
        folder: Where the files are; it need not exist.
        fallback: The journal.
        on_appended: Called with destination and stream of what was appended.
    """

    def __init__(
        self, folder: Path, fallback: FallbackStore, on_appended: Callable[[str, str], None]
    ) -> None:
        self._folder = folder
        self._fallback = fallback
        self._on_appended = on_appended
        self._stay: set[Path] = set()
        """Files that cannot be read, or that were appended and cannot be removed."""

    def adopt(self) -> int:
        """Append what is there; gives the number of files. What the journal does not take stays."""
        count = 0
        for path in _files(self._folder):
            try:
                if path not in self._stay:
                    count += self._adopt(path)
            except OSError as failure:
                logger.debug("What a process left in %s stays there: %s", path, failure)
            except (JournalUnavailableError, NotStoredError) as failure:
                # The next file would wait for the journal as long.
                logger.debug("What processes left in %s stays there: %s", self._folder, failure)
                break
        return count

    def any_of(self, pid: int) -> bool:
        """Say whether there is a file of a process that could be appended once it has ended."""
        return any(made_by(path, pid) for path in _files(self._folder) if path not in self._stay)

    def settle(self, path: Path, *, insist: bool) -> bool:
        """Append one file that this process has let go, unless somebody did or does.

        Args:
            path: The file.
            insist: Also where somebody has held it for long: that process may be stopped, and a point
                that is appended twice is one point.

        Returns:
            Whether there is nothing more to append.

        Raises:
            OSError: The file cannot be opened or read.
            JournalUnavailableError: The journal cannot tell the run's id.
            NotStoredError: Neither journal nor spool took it.
        """
        self._adopt(path, insist=insist)
        return path in self._stay or not path.exists()

    def _adopt(self, path: Path, *, insist: bool = False) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False  # its process, or another one that adopts, has removed it
        try:
            left = self._read(path, descriptor) if insist or lock(descriptor) else None
            if left is None:
                return False
            destination, runs = left
            for run_id, calls in runs.items():
                self._append(destination, run_id, calls)
            self._remove(path)
        finally:
            os.close(descriptor)
        if runs:
            # What this process, or the job for which it delivers, let go of is no news.
            of_the_living = made_by(path, os.getpid()) or made_by(path, os.getppid())
            level = logging.DEBUG if of_the_living else logging.INFO
            logger.log(
                level, "Metrics that another process left in %s are in the journal now.", path
            )
        return True

    def _read(self, path: Path, descriptor: int) -> tuple[str, dict[str, list[Points]]] | None:
        data = b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
        try:
            return read_points(data)
        except ValueError as cause:
            self._stay.add(path)
            logger.warning(
                "The file %s holds metrics that this release cannot read (%s), and is left alone. "
                "Run the release that wrote it; if that cannot read it either, it is damaged.",
                path,
                cause,
            )
            return None

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as cause:
            self._stay.add(path)
            logger.warning("%s was appended to the journal, and cannot be removed: %s", path, cause)

    def _append(self, destination: str, run_id: str, calls: Sequence[Points]) -> None:
        if creation_of(run_id) is None:
            run_id = self._fallback.aliases((run_id,)).get(run_id, run_id)
        for part in split_points(calls):
            entry = PointsEntry(run_id, part, destination)
            self._fallback.append(entry, None, None)
            self._on_appended(destination, entry.stream)


def read_points(data: bytes) -> tuple[str, dict[str, list[Points]]]:
    """Read the contents of a file: the destination, and the calls of each run in order.

    What stands at the end and is not whole was never told to be kept, and is left out.

    Raises:
        ValueError: Another release, or something else, wrote it.
    """
    if MAGIC.startswith(data):
        return "", {}
    if not data.startswith(MAGIC):
        raise ValueError("it does not begin as a file of points does")
    destination = ""
    named: dict[int, tuple[list[Points], tuple[str, ...], struct.Struct]] = {}
    """Where the calls with a number belong, their keys, and how they are laid out."""
    found: dict[str, list[Points]] = {}
    position = len(MAGIC)
    try:
        while position < len(data):
            if data[position] == CALL:
                _, number, timestamp, step = CALL_HEAD.unpack_from(data, position)
                calls, keys, values = named[number]
                position += CALL_HEAD.size
                calls.append((keys, values.unpack_from(data, position), timestamp, step))
                position += values.size
            elif data[position] == TEXT:
                number, (first, *keys_named), position = _read_text(data, position)
                if number == 0:
                    destination = first
                    continue
                keys = tuple(keys_named)
                calls = found.setdefault(first, [])
                named[number] = calls, keys, struct.Struct(f"<{len(keys)}d")
            elif any(data[position:]):
                raise ValueError(f"no record has the type {data[position]}")
            else:
                break  # a machine that lost its power may leave zeros where data was to be
    except struct.error:
        pass
    except KeyError as cause:
        raise ValueError("a call names a run that is not there") from cause
    return destination, {run_id: calls for run_id, calls in found.items() if calls}


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                yield folder / entry.name


def _read_text(data: bytes, position: int) -> tuple[int, list[str], int]:
    _, number, length = TEXT_HEAD.unpack_from(data, position)
    begin = position + TEXT_HEAD.size
    if begin + length > len(data):
        raise struct.error("the text is not whole")
    return number, json.loads(data[begin : begin + length]), begin + length
