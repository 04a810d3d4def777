"""What every journal has to do."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import NotFoundError
from hokusai_core.identifiers import new_op_id
from hokusai_core.journal import Claim, Entry
from hokusai_core.operations import (
    AnyOperation,
    CreateModelVersion,
    LogBatch,
    MetricPoint,
    dump_operation,
)
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.journal_claims import JournalClaims
from hokusai_core.testing.contracts.journal_decisions import JournalDecisions
from hokusai_core.testing.contracts.journal_steps import some_batch
from hokusai_core.testing.contracts.journal_writes import JournalWrites
from hokusai_core.testing.contracts.samples import NASTY_TEXTS, file_of, new_run, unique


class JournalContract(JournalClaims, JournalDecisions, JournalWrites):
    """Tests of the specification :class:`~hokusai_core.hookspecs.Journal`."""

    # Append and read

    @clause("journal.append-once")
    def test_an_operation_is_appended_once(self, backend: OpenBackend, destination: str) -> None:
        """A known ``op_id`` is passed over, in any state."""
        operations = [some_batch(), some_batch()]
        assert self.append(backend, destination, *operations) == 2
        assert self.append(backend, destination, operations[0], third := some_batch()) == 1
        stored = [entry.op_id for entry in self.read(backend, destination)]
        assert stored == [operation.op_id for operation in (*operations, third)]
        self.settle_all(backend, destination)
        assert self.append(backend, destination, *operations) == 0

    @clause("journal.payload")
    def test_a_payload_comes_back_as_it_was(self, backend: OpenBackend, destination: str) -> None:
        """Every character and every number, in the order of the appending."""
        texts = {f"text {number}": text for number, text in enumerate(NASTY_TEXTS)}
        values = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1)
        points = tuple(
            MetricPoint(key="k", value=value, timestamp=2**63 - 1, step=-(2**63))
            for value in values
        )
        operations: list[AnyOperation] = [
            new_run("1", tags=texts),
            LogBatch(run_id="r", metrics=points, params=texts, tags=texts),
            CreateModelVersion(name="it's", source="s3://b/ü", tags=texts),
        ]
        self.append(backend, destination, *operations)
        stored = [entry.operation for entry in self.read(backend, destination)]
        assert [dump_operation(each) for each in stored if each] == [
            dump_operation(operation) for operation in operations
        ]

    @clause("journal.selection")
    def test_entries_are_selected(self, backend: OpenBackend, destination: str) -> None:
        """By stream, kind, id and state, in pages by sequence."""
        run = new_run("1")
        batches = [some_batch(run.provisional_id or "") for _ in range(3)]
        self.append(backend, destination, run, *batches, other := some_batch())
        by_stream = self.read(backend, destination, streams=(run.stream,))
        assert len(by_stream) == 4
        assert [entry.sequence for entry in by_stream] == sorted(
            entry.sequence for entry in by_stream
        )
        assert len(self.read(backend, destination, kinds=("create_run",))) == 1
        (one,) = self.read(backend, destination, op_ids=(other.op_id,))
        assert (one.stream, one.kind, one.state) == (other.stream, "log_batch", "waiting")
        first = self.read(backend, destination, streams=(run.stream,), limit=2)
        rest = self.read(backend, destination, streams=(run.stream,), after=first[-1].sequence)
        assert len(first) == 2
        assert first + rest == by_stream
        assert self.read(backend, destination, states=("delivered",)) == ()

    @clause("journal.content")
    def test_content_waits_with_its_operation(self, backend: OpenBackend, destination: str) -> None:
        """The bytes come back as they were, and go when the artifact is delivered."""
        content = bytes(range(256)) * 5000
        operation, open_content = file_of("r", "a.bin", content)
        entry = Entry(operation=operation, destination=destination)
        assert backend.journal.journal_append((entry,), open_content) == 1
        with backend.journal.journal_open_content(operation.op_id) as stream:
            assert stream.read() == content
        self.settle_all(backend, destination)
        with pytest.raises(NotFoundError):
            backend.journal.journal_open_content(operation.op_id)

    # Settling

    @clause("journal.mapping")
    def test_a_settle_writes_the_mapping(self, backend: OpenBackend, destination: str) -> None:
        """Together with the outcome; both directions are known afterwards."""
        run, primary_id = new_run("1"), new_op_id()
        provisional = run.provisional_id or ""
        self.append(backend, destination, run)
        assert backend.journal.journal_resolve((provisional,)) == {}
        claim = self.claim(backend, destination)
        assert self.settle(backend, claim, run, primary_id=primary_id) == 1
        assert backend.journal.journal_resolve((provisional, "x")) == {provisional: primary_id}
        assert backend.journal.journal_aliases((primary_id, "x")) == {primary_id: provisional}
        (entry,) = self.read(backend, destination, states=("delivered",))
        assert (entry.op_id, entry.primary_id) == (run.op_id, primary_id)
        assert entry.settled_at is not None
        assert backend.journal.journal_unsettled((run.stream,)) == 0

    @clause("journal.discarded-meanwhile")
    def test_what_is_discarded_meanwhile_keeps_its_mapping(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """The primary has it all the same; it stays discarded and is not counted."""
        run, primary_id = new_run("1"), new_op_id()
        self.append(backend, destination, run)
        claim = self.claim(backend, destination)
        assert backend.journal.journal_discard((run.op_id,)) == 1
        assert self.settle(backend, claim, run, primary_id=primary_id) == 0
        provisional = run.provisional_id or ""
        assert backend.journal.journal_resolve((provisional,)) == {provisional: primary_id}
        (entry,) = self.read(backend, destination, states=("discarded",))
        assert entry.op_id == run.op_id

    @clause("journal.version-numbers")
    def test_version_numbers_are_no_aliases(self, backend: OpenBackend, destination: str) -> None:
        """They are resolved, but a number names no version on its own."""
        version = CreateModelVersion(name=unique("model"), source="s3://b/m")
        number = str(int(new_op_id()[:12], 16))
        assert backend.journal.journal_note(version, destination, number)
        provisional = version.provisional_id or ""
        assert backend.journal.journal_resolve((provisional,)) == {provisional: number}
        assert backend.journal.journal_aliases((number,)) == {}

    @clause("journal.note")
    def test_a_note_is_a_delivered_entry(self, backend: OpenBackend, destination: str) -> None:
        """Noted once, never claimed, found with its number."""
        version = CreateModelVersion(name=unique("model"), source="s3://b/m")
        assert backend.journal.journal_note(version, destination, "4")
        assert not backend.journal.journal_note(version, destination, "4")
        assert self.claims(backend, destination) == ()
        (entry,) = self.read(backend, destination, states=("delivered",))
        assert (entry.op_id, entry.primary_id) == (version.op_id, "4")

    @clause("journal.figures")
    def test_what_waits_is_counted(self, backend: OpenBackend, destination: str) -> None:
        """By stream, all destinations together, and in the figures of one."""
        run = new_run("1")
        stream_id = run.provisional_id or ""
        self.append(backend, destination, run, some_batch(stream_id), other := some_batch())
        assert backend.journal.journal_unsettled((run.stream,)) == 2
        assert backend.journal.journal_unsettled((run.stream, other.stream)) == 3
        assert backend.journal.journal_unsettled(("run/none",)) == 0
        backlog = backend.journal.journal_backlog(destination)
        assert backlog.by_destination[destination] == 3
        assert backlog.waiting >= 3
        assert backlog.oldest_at is not None
        assert backlog.oldest_at <= backlog.now
        counts = {listed.stream: listed.waiting for listed in backlog.streams}
        assert counts == {run.stream: 2, other.stream: 1}

    # The store itself

    @clause("journal.exclusive-claims")
    def test_workers_never_share_a_stream(self, backend: OpenBackend, destination: str) -> None:
        """Claims made at the same time are of different streams, appends are all kept."""
        workers = 4
        barrier = threading.Barrier(workers, timeout=self.patience)

        def work(number: int) -> list[Claim]:
            barrier.wait()
            for _ in range(3):
                self.append(
                    backend, destination, some_batch(f"r{number}"), some_batch(f"s{number}")
                )
            barrier.wait()
            claims: list[Claim] = []
            while claimed := self.claims(backend, destination, worker=str(number)):
                claims += claimed
                assert len(claims) <= 2 * workers, "a stream was handed out twice"
            return claims

        with ThreadPoolExecutor(workers) as executor:
            claims = [claim for each in executor.map(work, range(workers)) for claim in each]
        assert [len(claim.operations) for claim in claims] == [3] * 2 * workers
        expected = [f"run/{kind}{number}" for kind in "rs" for number in range(workers)]
        assert sorted(claim.stream for claim in claims) == sorted(expected)

    @clause("journal.close")
    def test_closing_is_not_the_end(self, backend: OpenBackend, destination: str) -> None:
        """A call after it opens connections anew; upgrading twice is harmless."""
        self.append(backend, destination, operation := some_batch())
        assert backend.journal.journal_upgrade() == backend.journal.journal_upgrade()
        assert backend.journal.journal_close() in (True, False)
        assert [entry.op_id for entry in self.read(backend, destination)] == [operation.op_id]
