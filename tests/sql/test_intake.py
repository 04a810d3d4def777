"""The table where single entries of a journal go first."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hokusai_backend_sql import intake, postgresql_intake
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal import SqlJournal
from hokusai_core.journal import Entry, EntryQuery, Release
from hokusai_core.operations import LogBatch
from hokusai_core.settings import Settings
from tests.sql.queueing import HERE, append, claim, delivered, log_metric, op_ids, request

MOST_LOOKS = 20
WRITERS, EACH = 4, 60


def fresh(operation: LogBatch) -> tuple[Entry, ...]:
    return (Entry(operation=operation, destination=HERE, fresh=True),)


def log(journal: SqlJournal, count: int) -> None:
    for _ in range(count):
        journal.journal_append(fresh(log_metric("abc")), None)


@pytest.fixture
def patient(database: Database, tmp_path: Path) -> Iterator[Database]:
    """The same database, with time for a busy machine."""
    database.upgrade()
    url = database.url.render_as_string(hide_password=False)
    settings = Settings.load(data_dir=tmp_path, durability="process", journal_timeout=30)
    patient = Database(url, settings)
    yield patient
    patient.close()


def test_a_reader_does_not_wait_for_a_writer_that_is_faster(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.upgrade()
    monkeypatch.setattr(intake, "MOVED_AT_ONCE", 10)
    journal = SqlJournal(database)
    log(journal, 1)
    looks = 0
    name = "run_alone" if database.is_sqlite else "run_committed"
    run = getattr(Database, name)

    def as_the_writer_goes_on(self: Database, statement: str, *values: Any) -> object:
        nonlocal looks
        if statement in {intake.FIRST, postgresql_intake.FIRST}:
            looks += 1
            assert looks < MOST_LOOKS, "the reader never gets to what it asks"
            log(journal, 11)
        return run(self, statement, *values)

    monkeypatch.setattr(Database, name, as_the_writer_goes_on)
    assert journal.journal_read(EntryQuery())


def test_writers_and_those_who_move_keep_the_order_of_each_stream(patient: Database) -> None:
    journal = SqlJournal(patient)
    written = [[log_metric(f"r{writer}", n) for n in range(EACH)] for writer in range(WRITERS)]
    writing = threading.Event()
    writing.set()

    def write(operations: list[LogBatch]) -> None:
        for operation in operations:
            journal.journal_append(fresh(operation), None)

    def look() -> int:
        # Others move, too: each through a journal, and so a lock, of its own.
        other, count = SqlJournal(patient), 0
        while writing.is_set():
            other.journal_read(EntryQuery(limit=1))
            count += 1
        return count

    def deliver() -> list[str]:
        other, done = SqlJournal(patient), []
        while True:
            last = not writing.is_set()
            claims = other.journal_claim(request(limit=20))
            for claimed in claims:
                done += op_ids(claimed)
                known = [one.operation for one in claimed.operations if one.operation]
                other.journal_settle(claimed, tuple(map(delivered, known)))
                other.journal_release(claimed, Release())
            if last and not claims:
                return done

    with ThreadPoolExecutor(WRITERS + 4) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        delivering = [pool.submit(deliver) for _ in range(2)]
        for writer in [pool.submit(write, operations) for operations in written]:
            writer.result()
        writing.clear()
        assert all(each.result() for each in looking)
        done = [op_id for each in delivering for op_id in each.result()]
    everything = [one.op_id for operations in written for one in operations]
    assert sorted(done) == sorted(everything)
    stored = journal.journal_read(EntryQuery(states=("delivered",)))
    for writer, operations in enumerate(written):
        own = [one.op_id for one in stored if one.stream == f"run/r{writer}"]
        assert own == [one.op_id for one in operations]
    assert journal.journal_backlog(HERE).waiting == 0


@pytest.mark.parametrize("pruned", [False, True])
def test_what_is_known_is_not_taken_again_and_not_counted(patient: Database, pruned: bool) -> None:
    """Contrary to what its caller says: a fresh entry is one that no journal was given before."""
    journal = SqlJournal(patient)
    known, new, twice = (log_metric("r", n) for n in range(3))
    append(journal, known)
    claimed = claim(journal)
    journal.journal_settle(claimed, (delivered(known),))
    journal.journal_release(claimed, Release())
    if pruned:
        assert journal.journal_prune(0.0) == 1
    for operation in (known, new, twice, twice):
        journal.journal_append(fresh(operation), None)
    assert [one.op_id for one in journal.journal_read(EntryQuery())] == [new.op_id, twice.op_id]
    assert journal.journal_unsettled(("run/r",)) == 2
    assert journal.journal_backlog(HERE).waiting == 2
    assert op_ids(claim(journal)) == [new.op_id, twice.op_id]
