"""Bytes of artifacts in the database: stored once for each SHA-256, in hashed chunks, counted.

Content is written and read in chunks of 1 MiB, so that memory stays constant whatever the size.
"""

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from hokusai_backend_sql.schema import insert_into, metadata
from hokusai_core.errors import InvalidInputError, NotFoundError, PermanentError

if TYPE_CHECKING:
    from hokusai_backend_sql.engine import Database

CHUNK_BYTES = 1024 * 1024
"""Size of a chunk; the last one of a content may be smaller."""

Digest = tuple[str, int]
"""SHA-256 in hexadecimal, and size in bytes."""

Staged = tuple[str, ...]
"""SHA-256 of each chunk of a content that was staged; () for one that was not."""

contents = Table(
    "contents",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("reference_count", BigInteger, nullable=False),
    Column("staged_at", Double),
)

chunks = Table(
    "chunks",
    metadata,
    Column("content_sha256", String(64), ForeignKey(contents.c.sha256), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("data", LargeBinary, nullable=False),
)


def digest_of(open_content: Callable[[], BinaryIO]) -> Digest:
    """Read bytes once, for their SHA-256 and size."""
    digest, size = hashlib.sha256(), 0
    with open_content() as content:
        while block := content.read(CHUNK_BYTES):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def store_content(
    connection: Connection,
    open_content: Callable[[], BinaryIO],
    digest: Digest | None = None,
    *,
    staged: Staged = (),
) -> Digest:
    """Store bytes, or count one more reference to them where they are stored already.

    Runs in the caller's transaction. The content is opened twice: to know its digest (unless the
    caller has it from :func:`digest_of`), and to store it where it is new.

    Args:
        connection: A write transaction.
        open_content: Opens the bytes.
        digest: Their SHA-256 and size.
        staged: SHA-256 of each chunk, where the caller stored all of them beforehand (see
            :mod:`hokusai_backend_sql.staging`).

    Returns:
        The SHA-256 in hexadecimal, and the size in bytes.

    Raises:
        InvalidInputError: The content changed while it was read.

    """
    sha256, size = digest or digest_of(open_content)
    counted = insert_into(connection, contents).values(sha256=sha256, size=size, reference_count=1)
    references = connection.scalar(
        counted.on_conflict_do_update(
            index_elements=[contents.c.sha256],
            set_={"reference_count": contents.c.reference_count + 1},
        ).returning(contents.c.reference_count)
    )
    if references == 1 and (not staged or _stored_chunks(connection, sha256) != staged):
        # What somebody else began to stage is not trusted.
        connection.execute(delete(chunks).where(chunks.c.content_sha256 == sha256))
        _store_chunks(connection, open_content, sha256)
    return sha256, size


def _stored_chunks(connection: Connection, sha256: str) -> Staged:
    return tuple(
        connection.scalars(
            select(chunks.c.sha256)
            .where(chunks.c.content_sha256 == sha256)
            .order_by(chunks.c.number)
        )
    )


def open_content(database: "Database", sha256: str) -> BinaryIO:
    """Open stored bytes for reading; each chunk is verified when it is read.

    No transaction stays open between reads.

    Raises:
        NotFoundError: Nothing with this SHA-256 is stored.

    """
    with database.connect() as connection:
        size = connection.scalar(select(contents.c.size).where(contents.c.sha256 == sha256))
    if size is None:
        raise NotFoundError(
            f"No content with SHA-256 {sha256} is stored; it was delivered or discarded meanwhile."
        )
    reader = _ChunkReader(database, sha256, size)
    return cast("BinaryIO", io.BufferedReader(reader, buffer_size=CHUNK_BYTES))


def drop_reference(connection: Connection, sha256: str) -> None:
    """Count one reference less, and remove the bytes with the last. Harmless for unknown ones."""
    left = connection.scalar(
        update(contents)
        .where(contents.c.sha256 == sha256)
        .values(reference_count=contents.c.reference_count - 1)
        .returning(contents.c.reference_count)
    )
    if left is not None and left <= 0:
        connection.execute(delete(chunks).where(chunks.c.content_sha256 == sha256))
        connection.execute(delete(contents).where(contents.c.sha256 == sha256))


def _store_chunks(
    connection: Connection, open_content: Callable[[], BinaryIO], expected: str
) -> None:
    digest, number = hashlib.sha256(), 0
    with open_content() as content:
        while block := read_chunk(content):
            digest.update(block)
            connection.execute(insert(chunks), chunk_row(expected, number, block))
            number += 1
    if digest.hexdigest() != expected:
        raise InvalidInputError(
            "The file changed while it was being stored. Log it again once it is complete."
        )


def chunk_row(content_sha256: str, number: int, block: bytes) -> dict[str, object]:
    """Give the row of one chunk."""
    return {
        "content_sha256": content_sha256,
        "number": number,
        "sha256": hashlib.sha256(block).hexdigest(),
        "data": block,
    }


def read_chunk(content: BinaryIO) -> bytes:
    """Read a full chunk where there is one: raw streams may give less at a time."""
    parts, missing = [], CHUNK_BYTES
    while missing and (part := content.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


_READ_CHUNK = select(chunks.c.data, chunks.c.sha256).where(
    chunks.c.content_sha256 == bindparam("content"), chunks.c.number == bindparam("number")
)


class _ChunkReader(io.RawIOBase):
    """Reads the chunks of one content in order, each with a transaction of its own."""

    def __init__(self, database: "Database", sha256: str, size: int) -> None:
        self._database = database
        self._sha256 = sha256
        self._left = size
        self._number = 0
        self._chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._chunk and self._left:
            self._chunk = memoryview(self._next_chunk())
        count = min(len(buffer), len(self._chunk))
        buffer[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        return count

    def _next_chunk(self) -> bytes:
        with self._database.connect() as connection:
            row = connection.execute(
                _READ_CHUNK, {"content": self._sha256, "number": self._number}
            ).one_or_none()
        if row is None:
            raise NotFoundError(
                f"The content with SHA-256 {self._sha256} was removed while it was being read."
            )
        data = bytes(row.data)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise PermanentError(
                f"Chunk {self._number} of the content with SHA-256 {self._sha256} is damaged in "
                "the database. Restore the database from a backup, or discard the artifact."
            )
        self._number += 1
        self._left -= len(data)
        return data
