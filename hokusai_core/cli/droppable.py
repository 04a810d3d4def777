"""A stream whose losses end nothing: for messages beside work that goes on."""

import io
from contextlib import suppress
from typing import TextIO, cast


def droppable(stream: TextIO) -> TextIO:
    """Give a stream that writes to another, and drops what that does not take.

    A disk may be full, a terminal or a reader gone.
    """
    return cast("TextIO", _Droppable(stream))


class _Droppable(io.TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write, or drop."""
        with suppress(OSError, ValueError):  # ValueError: it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Give the stream's descriptor."""
        return self._stream.fileno()
