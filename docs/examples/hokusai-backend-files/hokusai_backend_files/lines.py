"""Files of JSON lines that survive a kill: a line is there as a whole, or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from hokusai_core.backend_tools import Deadline
from hokusai_core.errors import UnavailableError
from hokusai_core.testing.cuts import FaultPoints

BEFORE = "before the write"
HALFWAY = "in the middle of the write"
AFTER = "after the write"
faults = FaultPoints(BEFORE, HALFWAY, AFTER)
"""Where a test may cut a write off; these calls do nothing otherwise."""

Line = dict[str, Any]


class Folder:
    """A folder with one writer at a time, among all threads and processes.

    Args:
        root: Made with the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def writing(self, deadline: Deadline) -> Iterator[None]:
        """Hold the folder's lock; UnavailableError where it, or the folder, is not to be had."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / ".lock")
            lock.acquire(timeout=max(0.0, deadline.remaining()))
        except Timeout as cause:
            raise UnavailableError(f"{self.root} is locked by another writer.") from cause
        except OSError as cause:
            raise UnavailableError(f"{self.root} cannot be written: {cause}.") from cause
        try:
            yield
        finally:
            lock.release()

    def append(self, path: Path, line: Line) -> None:
        """Add a line and let it reach the disk; call it with the lock held."""
        data = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        faults.reach(BEFORE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.truncate(_end_of_last_line(path))
                _write_in_two(file, data)
        except OSError as cause:
            raise UnavailableError(
                f"{path} cannot be written: {cause}.", maybe_applied=True
            ) from cause
        faults.reach(AFTER)

    def read(self, path: Path) -> list[Line]:
        """Give all lines that are complete, in order; [] where there is no file."""
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as cause:
            raise UnavailableError(f"{path} cannot be read: {cause}.") from cause
        return [json.loads(line) for line in text.split(b"\n")[:-1]]

    def replace(self, path: Path, content: BinaryIO) -> None:
        """Store a file as a whole, over what is there; call it with the lock held."""
        temporary = self.root / ".incoming"
        faults.reach(BEFORE)
        with temporary.open("wb") as file:
            while block := content.read(1 << 20):
                _write_in_two(file, block)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(path)
        except OSError as cause:
            raise UnavailableError(
                f"{path} cannot be written: {cause}.", maybe_applied=True
            ) from cause
        faults.reach(AFTER)


def _write_in_two(file: BinaryIO, data: bytes) -> None:
    half = len(data) // 2
    file.write(data[:half])
    file.flush()
    faults.reach(HALFWAY)
    file.write(data[half:])
    file.flush()
    os.fsync(file.fileno())


def _end_of_last_line(path: Path) -> int:
    """The length without a line that a kill has cut off."""
    data = path.read_bytes() if path.exists() else b""
    return data.rfind(b"\n") + 1
