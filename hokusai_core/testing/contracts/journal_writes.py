"""What every journal has to do with writes that are cut off."""

from hokusai_core.backends import OpenBackend
from hokusai_core.identifiers import new_op_id
from hokusai_core.journal import Entry, EntryQuery
from hokusai_core.operations import AnyOperation, LogBatch
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.interruptions import (
    CutWrites,
    Interruptions,
    Reopen,
)
from hokusai_core.testing.contracts.journal_steps import (
    SHORT_LEASE,
    JournalSteps,
    some_batch,
)
from hokusai_core.testing.contracts.samples import file_of, new_run, unique
from hokusai_core.testing.cuts import Cuts

_EVERY = ("waiting", "delivered", "dead", "discarded", "superseded")


class JournalWrites(Interruptions, JournalSteps):
    """Tests of a journal's transactions; a part of ``JournalContract``."""

    @clause("journal.durable")
    def test_what_was_appended_is_there_for_another_process(
        self, backend: OpenBackend, destination: str, reopen: Reopen
    ) -> None:
        """An append that returned is stored, the bytes of files too."""
        artifact, open_content = file_of(unique("r"), "a.bin", b"abc" * 50_000)
        self.append(backend, destination, batch := some_batch())
        entry = Entry(operation=artifact, destination=destination)
        backend.journal.journal_append((entry,), open_content)
        after = reopen()
        stored = self.read(after, destination)
        assert [entry.operation for entry in stored] == [batch, artifact]
        with after.journal.journal_open_content(artifact.op_id) as stream:
            assert stream.read() == b"abc" * 50_000

    @clause("journal.cut-append")
    def test_an_append_that_is_cut_off_is_whole_or_not_there(
        self, backend: OpenBackend, destination: str, cuts: Cuts, reopen: Reopen
    ) -> None:
        """All entries of the call, or none; a repeat adds what is missing, once and in order."""
        writes = CutWrites(cuts)
        for point in writes.points():
            run = new_run("1")
            operations: list[AnyOperation] = [run]
            operations += [some_batch(run.provisional_id or "") for _ in range(3)]
            expected = [operation.op_id for operation in operations]
            query = EntryQuery(streams=(run.stream,), states=_EVERY)
            with writes.at(point):
                self.append(backend, destination, *operations)
            after = reopen()
            left = [entry.op_id for entry in after.journal.journal_read(query)]
            assert left in ([], expected), point
            self.append(after, destination, *operations)
            assert [entry.op_id for entry in after.journal.journal_read(query)] == expected, point

    @clause("journal.cut-settle")
    def test_a_settle_that_is_cut_off_is_whole_or_not_there(
        self, backend: OpenBackend, destination: str, cuts: Cuts, reopen: Reopen
    ) -> None:
        """The outcome never without the mapping, and the mapping never without the outcome."""
        writes = CutWrites(cuts)
        for point in writes.points():
            run, primary_id = new_run("1"), new_op_id()
            self.append(backend, destination, run)
            claim = self.claim(backend, destination)
            with writes.at(point):
                self.settle(backend, claim, run, primary_id=primary_id)
            after = reopen()
            known = after.journal.journal_resolve((run.provisional_id or "",))
            assert bool(known) == self.delivered(after, run), point
            self.settle(after, claim, run, primary_id=primary_id)
            assert self.delivered(after, run), point

    @clause("journal.cut-claim")
    def test_a_claim_that_is_cut_off_is_marked_or_not_made(
        self, backend: OpenBackend, destination: str, cuts: Cuts, reopen: Reopen
    ) -> None:
        """Nobody knows what its worker has sent: after the lease the operation comes again."""
        writes = CutWrites(cuts)
        for point in writes.points():
            batch = LogBatch(run_id=new_op_id(), params={"k": "v"})
            self.append(backend, destination, batch)
            with writes.at(point):
                self.claims(backend, destination, lease_seconds=SHORT_LEASE)
            after = reopen()
            claim = self.eventually(after, destination, worker="other")
            assert [entry.op_id for entry in claim.operations] == [batch.op_id], point
            assert claim.operations[0].maybe_applied == (claim.fence > 1), point
            self.settle(after, claim, batch)
