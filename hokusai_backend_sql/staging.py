"""Large contents are stored on SQLite in short transactions, so that nobody waits for the file's lock.

A transaction that stores a gigabyte would hold the only write lock for longer than other writers
wait. So the chunks come first, a few at a time and with pauses, under a content that nothing refers
to; the transaction that appends the operation finds them there. What a process leaves that ends in
between is removed after a day.
"""

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from sqlalchemy import delete, select

from hokusai_backend_sql.content import (
    CHUNK_BYTES,
    Digest,
    Staged,
    chunk_row,
    chunks,
    contents,
    read_chunk,
)
from hokusai_backend_sql.schema import database_now, insert_into
from hokusai_backend_sql.upsert import overwrite
from hokusai_core.errors import InvalidInputError

if TYPE_CHECKING:
    from hokusai_backend_sql.engine import Database

STAGED_BYTES = 8 * CHUNK_BYTES
"""Contents above this size are staged; a smaller one is stored within a fraction of a second."""

_CHUNKS_AT_ONCE = 2
_PAUSE = 0.5
"""Of the time that the lock was held: long enough for others to come in between."""
_LONGEST_PAUSE_SECONDS = 0.1
_ABANDONED_SECONDS = 24 * 3600.0


def stage_content(
    database: "Database", open_content: Callable[[], BinaryIO], digest: Digest
) -> Staged:
    """Store the chunks of a large content on SQLite; returns the SHA-256 of each, () if it did not.

    Raises:
        InvalidInputError: The content is not what its digest says: it changed meanwhile.
    """
    sha256, size = digest
    if not database.is_sqlite or size <= STAGED_BYTES or _is_stored(database, sha256):
        return ()
    running = hashlib.sha256()
    staged: list[str] = []
    with open_content() as content:
        while blocks := _read_some(content):
            for block in blocks:
                running.update(block)
            began = time.monotonic()
            staged += _store(database, digest, len(staged), blocks)
            time.sleep(min(_LONGEST_PAUSE_SECONDS, _PAUSE * (time.monotonic() - began)))
    if running.hexdigest() != sha256:
        raise InvalidInputError(
            "The file changed while it was being stored. Log it again once it is complete."
        )
    return tuple(staged)


def remove_abandoned(database: "Database") -> int:
    """Remove staged contents that no operation came to refer to within a day; returns how many."""
    with database.begin() as connection:
        found = connection.scalars(
            select(contents.c.sha256).where(
                contents.c.reference_count == 0,
                contents.c.staged_at < database_now() - _ABANDONED_SECONDS,
            )
        ).all()
        if found:
            connection.execute(delete(chunks).where(chunks.c.content_sha256.in_(found)))
            connection.execute(delete(contents).where(contents.c.sha256.in_(found)))
    return len(found)


def _is_stored(database: "Database", sha256: str) -> bool:
    with database.connect() as connection:
        references = connection.scalar(
            select(contents.c.reference_count).where(contents.c.sha256 == sha256)
        )
    return bool(references)


def _read_some(content: BinaryIO) -> list[bytes]:
    blocks: list[bytes] = []
    while len(blocks) < _CHUNKS_AT_ONCE and (block := read_chunk(content)):
        blocks.append(block)
    return blocks


def _store(database: "Database", digest: Digest, first: int, blocks: list[bytes]) -> list[str]:
    sha256, size = digest
    rows = [chunk_row(sha256, first + number, block) for number, block in enumerate(blocks)]
    with database.begin() as connection:
        connection.execute(
            insert_into(connection, contents)
            .values(sha256=sha256, size=size, reference_count=0, staged_at=database_now())
            .on_conflict_do_nothing()
        )
        references = connection.scalar(
            select(contents.c.reference_count).where(contents.c.sha256 == sha256)
        )
        if not references:
            # Over what an earlier attempt left; what is referred to is never touched.
            overwrite(connection, chunks, rows)
    return [str(row["sha256"]) for row in rows]
