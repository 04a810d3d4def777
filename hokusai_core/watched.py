"""A stream of bytes that tells when it is read."""

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast


class _Watched(io.RawIOBase):
    """Reads from another stream, and calls back before each read."""

    def __init__(self, stream: BinaryIO, before_read: Callable[[], None]) -> None:
        super().__init__()
        self._stream = stream
        self._before_read = before_read

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 at the end."""
        self._before_read()
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the other stream, too."""
        if not self.closed:
            self._stream.close()
        super().close()


def watched(stream: BinaryIO, before_read: Callable[[], None]) -> BinaryIO:
    """Wrap a stream so that ``before_read`` is called as its bytes move, about once a megabyte."""
    return cast("BinaryIO", io.BufferedReader(_Watched(stream, before_read), buffer_size=1 << 20))
