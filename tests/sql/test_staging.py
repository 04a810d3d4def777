"""Large contents on SQLite: nobody waits for the file's lock, and nothing half stored is trusted."""

import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from hokusai_backend_sql.content import CHUNK_BYTES, chunks, contents
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.staging import STAGED_BYTES, remove_abandoned, stage_content
from hokusai_core.errors import InvalidInputError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry
from hokusai_core.operations import ArtifactOwner, LogArtifact
from tests.sql.queueing import HERE, append, claim, delivered, log_metric

DATA = bytes(range(256)) * ((STAGED_BYTES + CHUNK_BYTES) // 256)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Staging is for SQLite, which has one write lock."""
    return sqlite_url


def artifact(data: bytes = DATA) -> LogArtifact:
    return LogArtifact(
        run_id="r" * 32,
        owner=ArtifactOwner(kind="run", id="r" * 32),
        path="large.bin",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def log(journal: Journal, operation: LogArtifact, data: bytes = DATA) -> int:
    entry = Entry(operation=operation, destination=HERE)
    return journal.journal_append((entry,), lambda: io.BytesIO(data))


def stored(database: Database) -> tuple[int, int]:
    """Count contents and chunks."""
    with database.connect() as connection:
        return (
            connection.scalar(select(func.count()).select_from(contents)) or 0,
            connection.scalar(select(func.count()).select_from(chunks)) or 0,
        )


def test_a_large_content_is_read_back_and_removed_after_delivery(
    journal: Journal, database: Database
) -> None:
    operation = artifact()
    assert log(journal, operation) == 1
    with journal.journal_open_content(operation.op_id) as content:
        assert content.read() == DATA
    claimed = claim(journal)
    journal.journal_settle(claimed, (delivered(operation),))
    assert stored(database) == (0, 0)


def test_another_writer_comes_in_between(
    journal: Journal, open_sql: Callable[..., object], database_url: str, tmp_path: Path
) -> None:
    """The lock is free while the content is being read."""
    other = open_sql(database_url).journal  # type: ignore[attr-defined]
    appended: list[int] = []

    class Interrupting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == 4 * CHUNK_BYTES and not appended:
                thread = threading.Thread(
                    target=lambda: appended.append(append(other, log_metric("x" * 32)))
                )
                thread.start()
                thread.join(10)
            return super().read(size)

    operation = artifact()
    entry = Entry(operation=operation, destination=HERE)
    # Read once for the digest, and a second time to be stored.
    first = iter([io.BytesIO(DATA)])
    assert journal.journal_append((entry,), lambda: next(first, None) or Interrupting(DATA)) == 1
    assert appended == [1]
    with journal.journal_open_content(operation.op_id) as content:
        assert hashlib.sha256(content.read()).hexdigest() == operation.sha256


def test_what_somebody_else_began_to_stage_is_not_trusted(
    journal: Journal, database: Database
) -> None:
    operation = artifact()
    digest = (operation.sha256, operation.size)
    wrong = b"\x00" * len(DATA)
    with pytest.raises(InvalidInputError, match="changed"):
        stage_content(database, lambda: io.BytesIO(wrong), digest)
    assert stored(database)[1] > 0
    with pytest.raises(InvalidInputError):
        log(journal, operation, wrong)
    assert log(journal, operation) == 1
    with journal.journal_open_content(operation.op_id) as content:
        assert content.read() == DATA


def test_what_nobody_came_to_refer_to_is_removed_after_a_day(
    journal: Journal, database: Database
) -> None:
    operation = artifact()
    append(journal, log_metric("x" * 32))
    stage_content(database, lambda: io.BytesIO(DATA), (operation.sha256, operation.size))
    assert remove_abandoned(database) == 0
    with database.begin() as connection:
        connection.execute(update(contents).values(staged_at=contents.c.staged_at - 90_000))
    assert remove_abandoned(database) == 1
    assert stored(database) == (0, 0)
