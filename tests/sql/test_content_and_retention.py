"""Artifacts' bytes, what the primary has already, and what goes with time."""

import hashlib
import io
import os
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
from sqlalchemy import func, select, update

from hokusai_backend_sql import entries, retention
from hokusai_backend_sql.content import CHUNK_BYTES, chunks, contents
from hokusai_backend_sql.engine import Database
from hokusai_core.errors import InvalidInputError, NotFoundError, PermanentError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry, EntryQuery, Release
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateModelVersion,
    LogArtifact,
)
from tests.sql.queueing import (
    HERE,
    append,
    claim,
    create_run,
    dead,
    delivered,
    log_metric,
    op_ids,
    states,
)

TimePasses = Callable[[float], None]


def artifact_of(data: bytes, path: str = "file.bin") -> LogArtifact:
    return LogArtifact(
        run_id="a",
        owner=ArtifactOwner(kind="run", id="a"),
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def append_with(journal: Journal, artifact: LogArtifact, data: bytes) -> int:
    entry = Entry(operation=artifact, destination=HERE)
    return journal.journal_append((entry,), lambda: io.BytesIO(data))


def stored(database: Database) -> tuple[int, int]:
    with database.connect() as connection:
        return (
            connection.scalar(select(func.count()).select_from(contents)) or 0,
            connection.scalar(select(func.count()).select_from(chunks)) or 0,
        )


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
def test_bytes_are_read_back_and_go_when_delivered(
    journal: Journal, database: Database, size: int
) -> None:
    data = os.urandom(size)
    artifact = artifact_of(data)
    assert append_with(journal, artifact, data) == 1
    with journal.journal_open_content(artifact.op_id) as content:
        assert content.read() == data
    assert stored(database) == (1, -(-size // CHUNK_BYTES))
    journal.journal_settle(claim(journal), (delivered(artifact),))
    with pytest.raises(NotFoundError):
        journal.journal_open_content(artifact.op_id)
    assert stored(database) == (0, 0)


def test_equal_bytes_are_stored_once_and_stay_for_the_last(
    journal: Journal, database: Database
) -> None:
    data = b"the same"
    first, second = artifact_of(data, "1"), artifact_of(data, "2")
    for artifact in (first, first, second):
        append_with(journal, artifact, data)
    assert stored(database) == (1, 1)
    claimed = claim(journal)
    journal.journal_settle(claimed, (delivered(first),))
    assert journal.journal_open_content(second.op_id).read() == data
    assert journal.journal_discard((second.op_id,)) == 1
    assert stored(database) == (0, 0)


def test_the_later_of_two_simultaneous_appends_leaves_no_bytes(
    journal: Journal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither saw the other's when it looked what is known."""
    data = b"the same"
    artifact = artifact_of(data)
    assert append_with(journal, artifact, data) == 1
    monkeypatch.setattr(entries, "_known", lambda *_: (set(), time.time()))
    assert append_with(journal, artifact, data) == 0
    assert journal.journal_backlog("").waiting == 1
    assert journal.journal_open_content(artifact.op_id).read() == data
    journal.journal_settle(claim(journal), (delivered(artifact),))
    assert stored(database) == (0, 0)


def test_a_dead_letter_keeps_its_bytes(journal: Journal) -> None:
    artifact = artifact_of(b"kept")
    append_with(journal, artifact, b"kept")
    claimed = claim(journal)
    journal.journal_settle(claimed, (dead(artifact),))
    journal.journal_release(claimed, Release())
    assert journal.journal_open_content(artifact.op_id).read() == b"kept"
    journal.journal_retry((artifact.op_id,))
    assert op_ids(claim(journal)) == [artifact.op_id]


def test_a_file_that_changes_is_refused_and_leaves_nothing(
    journal: Journal, database: Database
) -> None:
    answers = iter((b"before", b"after!"))

    def open_changing() -> BinaryIO:
        return io.BytesIO(next(answers))

    entry = Entry(operation=artifact_of(b"before"), destination=HERE)
    with pytest.raises(InvalidInputError):
        journal.journal_append((entry,), open_changing)
    with pytest.raises(InvalidInputError):
        append_with(journal, artifact_of(b"one"), b"two")
    assert stored(database) == (0, 0)
    assert journal.journal_read(EntryQuery()) == ()


def test_damaged_bytes_are_noticed(journal: Journal, database: Database) -> None:
    artifact = artifact_of(b"good")
    append_with(journal, artifact, b"good")
    with database.begin() as connection:
        connection.execute(update(chunks).values(data=b"evil"))
    with pytest.raises(PermanentError, match="damaged"):
        journal.journal_open_content(artifact.op_id).read()


def test_content_is_only_there_for_artifacts(journal: Journal) -> None:
    append(journal, metric := log_metric("a"))
    for op_id in (metric.op_id, "0" * 32):
        with pytest.raises(NotFoundError):
            journal.journal_open_content(op_id)


def test_what_the_primary_has_is_noted_once(journal: Journal) -> None:
    version = CreateModelVersion(name="m", source="s3://x")
    assert journal.journal_note(version, HERE, "7")
    assert not journal.journal_note(version, HERE, "8")
    assert append(journal, version) == 0
    assert journal.journal_resolve((version.provisional_id or "",)) == {version.provisional_id: "7"}
    assert journal.journal_aliases(("7",)) == {}
    (noted,) = journal.journal_read(EntryQuery(states=("delivered",)))
    assert (noted.primary_id, noted.operation) == ("7", version)
    assert journal.journal_backlog("").waiting == 0


def test_an_id_that_means_two_things_has_no_alias(journal: Journal) -> None:
    for number in range(2):
        experiment = CreateExperiment(name=f"e{number}")
        assert journal.journal_note(experiment, f"http://{number}", "1")
    assert journal.journal_aliases(("1",)) == {}


def test_old_tracking_entries_go_and_their_ids_stay(
    journal: Journal, time_passes: TimePasses
) -> None:
    run, late, dead_one = create_run(), log_metric("b"), log_metric("c")
    version = CreateModelVersion(name="m", source="s3://x")
    append(journal, run, late, dead_one)
    journal.journal_note(version, HERE, "1")
    journal.journal_settle(claim(journal), (delivered(run, "r1"),))
    waiting = claim(journal)
    journal.journal_settle(claim(journal), (dead(dead_one),))
    time_passes(3600)
    journal.journal_note(create_run("young"), HERE, "r2")
    assert journal.journal_prune(7200) == 0
    assert journal.journal_prune(1800) == 1
    assert journal.journal_prune(1800) == 0
    left = states(journal)
    assert run.op_id not in left
    assert left[version.op_id] == "delivered"
    assert left[dead_one.op_id] == "dead"
    assert left[late.op_id] == "waiting"
    assert append(journal, run) == 0
    assert not journal.journal_note(run, HERE, "other")
    assert journal.journal_resolve((run.provisional_id or "",)) == {run.provisional_id: "r1"}
    assert journal.journal_settle(waiting, (delivered(late),)) == 1


def test_pruning_takes_as_many_steps_as_it_needs(journal: Journal, time_passes: TimePasses) -> None:
    metrics = [log_metric("a", value) for value in range(1500)]
    append(journal, *metrics)
    for part in (metrics[:1000], metrics[1000:]):
        claimed = claim(journal)
        journal.journal_settle(claimed, tuple(map(delivered, part)))
        journal.journal_release(claimed, Release())
    time_passes(10)
    assert journal.journal_prune(5) == 1500
    assert append(journal, *metrics) == 0


def test_pruning_reads_once_what_has_to_stay(
    journal: Journal, time_passes: TimePasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on behind it, whatever was settled at the same time."""
    monkeypatch.setattr(retention, "_PAGE", retention._PAGE.limit(4))
    monkeypatch.setattr(retention, "_READ_AT_ONCE", 4)
    pages: list[list[int]] = []
    read_page = retention._read_page

    def noted(*arguments: Any) -> list[Any]:
        page = read_page(*arguments)
        pages.append([settled.sequence for settled in page])
        return page

    monkeypatch.setattr(retention, "_read_page", noted)
    kept = [log_metric("a", value) for value in range(10)]
    gone = [log_metric("b", value) for value in range(9)]
    append(journal, *kept, *gone)
    for first, *others in (kept, gone):
        claimed = claim(journal)
        outcome = dead if first in kept else delivered
        journal.journal_settle(claimed, (outcome(first), *map(delivered, others)))
        journal.journal_release(claimed, Release())
    time_passes(10)
    assert journal.journal_prune(5) == len(gone)
    assert set(states(journal)) == {each.op_id for each in kept}
    read = [sequence for page in pages for sequence in page]
    assert len(read) == len(set(read)) == len(kept) + len(gone)
