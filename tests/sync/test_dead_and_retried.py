"""Dead letters and what is retried of them, in streams with much else."""

from collections.abc import Callable

import pytest

from hokusai_core import superseding
from hokusai_core.errors import RejectedError
from hokusai_core.journal import ClaimRequest, EntryQuery, QueuedOperation
from hokusai_core.operations import CreateRun
from hokusai_core.testing.memory_journal import MemoryJournal
from tests.sync.test_worker import Bench, batch, metrics

MANY = 100


@pytest.fixture
def bench() -> Bench:
    return Bench()


def refused_tag_before_many_points(bench: Bench) -> CreateRun:
    """Let a tag become a dead letter, and points after it be delivered one by one."""
    run = bench.begin()
    bench.steps()
    bench.append(batch(run, tags={"stage": "early"}))
    bench.mock.reject("log_batch", RejectedError("no"))
    bench.steps()
    bench.mock.accept("log_batch")
    bench.append(*metrics(run, MANY))
    bench.steps()
    assert len(bench.entries("dead")) == 1
    return run


def read_slowly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, after_page: Callable[[], object]
) -> None:
    """Let the journal give one entry a page, in a tenth of a lease."""
    read = MemoryJournal.journal_read

    def slowly(journal: MemoryJournal, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        page: tuple[QueuedOperation, ...] = read(journal, query)
        bench.clock.advance(bench.settings.lease_seconds / 10)
        after_page()
        return page

    monkeypatch.setattr(superseding, "_PAGE", 1)
    monkeypatch.setattr(bench.worker._journal, "journal_read", slowly.__get__(bench.journal))


def test_the_lease_is_kept_while_a_long_stream_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused_tag_before_many_points(bench)
    request = ClaimRequest(destination=bench.mock.destination, worker="other")
    taken: list[object] = []
    read_slowly(bench, monkeypatch, lambda: taken.extend(bench.journal.journal_claim(request)))
    (dead,) = bench.entries("dead")
    bench.journal.journal_retry((dead.op_id,))
    bench.worker.run_once()
    assert taken == []
    assert bench.entries("waiting", "dead") == []


def test_the_stream_is_read_once_for_all_that_was_retried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.begin()
    bench.steps()
    bench.mock.reject("log_batch", RejectedError("no"))
    bench.append(*(batch(run, tags={f"tag {number}": "early"}) for number in range(10)))
    bench.steps()
    bench.mock.accept("log_batch")
    bench.append(batch(run, tags={"tag 3": "late"}), *metrics(run, MANY))
    bench.steps()
    pages: list[int] = []
    read_slowly(bench, monkeypatch, lambda: pages.append(1))
    dead = bench.entries("dead")
    bench.journal.journal_retry(tuple(entry.op_id for entry in dead))
    bench.steps()
    assert [entry.op_id for entry in bench.entries("superseded")] == [dead[3].op_id]
    assert len(pages) < 2 * MANY
    (stored,) = bench.mock.store.runs()
    assert stored.data.tags["tag 3"] == "late"
    assert stored.data.tags["tag 2"] == "early"


def test_burying_what_nothing_refers_to_looks_at_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.begin()
    bench.steps()
    bench.append(*metrics(run, MANY))
    bench.mock.reject("log_batch", RejectedError("no"))
    looked_at: list[str] = []
    look = QueuedOperation.operation.fget
    assert look is not None

    def counted(entry: QueuedOperation) -> object:
        looked_at.append(entry.op_id)
        return look(entry)

    monkeypatch.setattr(QueuedOperation, "operation", property(counted))
    bench.steps()
    assert len(bench.entries("dead")) == MANY
    assert len(looked_at) < 20 * MANY
