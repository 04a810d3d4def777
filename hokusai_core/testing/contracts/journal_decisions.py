"""What every journal has to do when a person decides, and when time passes."""

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import JournalBusyError, LeaseLostError
from hokusai_core.journal import Entry, Outcome, Release, Settlement
from hokusai_core.operations import CreateModelVersion, LogBatch, MetricPoint
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.journal_steps import (
    SHORT_LEASE,
    JournalSteps,
    ids_of,
    model_and_version,
    some_batch,
)
from hokusai_core.testing.contracts.samples import file_of, new_run, unique

_EVERY = ("waiting", "delivered", "dead", "discarded", "superseded")


class JournalDecisions(JournalSteps):
    """Tests of retries, discarding, pruning and moving; a part of ``JournalContract``."""

    @clause("journal.dead-letter")
    def test_a_dead_letter_keeps_its_payload(self, backend: OpenBackend, destination: str) -> None:
        """With its reason; a retry lets it wait again in its old place."""
        first, second = some_batch("r"), some_batch("r")
        self.append(backend, destination, first, second)
        claim = self.claim(backend, destination)
        self.settle(backend, claim, first, outcome="dead", error="refused")
        backend.journal.journal_release(claim, Release(untouched=(second.op_id,)))
        (dead,) = self.read(backend, destination, states=("dead",))
        assert (dead.operation, dead.error) == (first, "refused")
        assert backend.journal.journal_backlog(destination).dead >= 1
        assert backend.journal.journal_retry((first.op_id, second.op_id)) == 1
        assert backend.journal.journal_retry((first.op_id,)) == 0
        assert ids_of(self.claim(backend, destination)) == [first.op_id, second.op_id]

    @clause("journal.discard")
    def test_a_discarded_operation_is_not_delivered(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """It holds nothing back any more and stays known."""
        run = new_run("1")
        first, second = some_batch("r"), some_batch("r")
        self.append(backend, destination, first, second, run)
        assert backend.journal.journal_discard((first.op_id, run.op_id)) == 2
        assert backend.journal.journal_discard((first.op_id,)) == 0
        assert ids_of(self.claim(backend, destination)) == [second.op_id]
        assert self.claims(backend, destination) == ()
        assert self.append(backend, destination, first) == 0
        discarded = self.read(backend, destination, states=("discarded",))
        assert {entry.op_id for entry in discarded} == {first.op_id, run.op_id}

    @clause("journal.prune")
    def test_pruning_keeps_what_must_stay(self, backend: OpenBackend, destination: str) -> None:
        """Ids, mappings, registry entries, and all that is not delivered."""
        run, version = new_run("1"), CreateModelVersion(name=unique("m"), source="s3://b/m")
        backend.journal.journal_note(run, destination, "r1")
        backend.journal.journal_note(version, destination, "1")
        self.append(backend, destination, waiting := some_batch())
        self.poll(lambda: backend.journal.journal_prune(0.0) or not self.delivered(backend, run))
        every = ("waiting", "delivered", "dead", "discarded")
        kept = {entry.op_id for entry in self.read(backend, destination, states=every)}
        assert kept == {version.op_id, waiting.op_id}
        assert self.append(backend, destination, run) == 0
        provisional = run.provisional_id or ""
        assert backend.journal.journal_resolve((provisional,)) == {provisional: "r1"}

    @clause("journal.retry-mark")
    def test_a_retry_is_marked(self, backend: OpenBackend, destination: str) -> None:
        """So that a worker looks at what was delivered since; others carry no such mark."""
        self.append(backend, destination, first := points("r"), second := points("r"))
        claim = self.claim(backend, destination)
        assert [entry.retried_at for entry in claim.operations] == [None, None]
        self.settle(backend, claim, first, outcome="dead")
        backend.journal.journal_release(claim, Release(untouched=(second.op_id,)))
        backend.journal.journal_retry((first.op_id,))
        (retried, other) = self.claim(backend, destination).operations
        assert retried.retried_at is not None
        assert other.retried_at is None

    @clause("journal.superseded")
    def test_what_is_superseded_is_settled(self, backend: OpenBackend, destination: str) -> None:
        """It waits no more, holds nothing back, keeps its payload, and its content goes."""
        artifact, open_content = file_of("r", "a.txt", b"a")
        entry = Entry(operation=artifact, destination=destination)
        backend.journal.journal_append((entry,), open_content)
        claim = self.claim(backend, destination)
        assert self.settle(backend, claim, artifact, outcome="superseded") == 1
        backend.journal.journal_release(claim, Release())
        (settled,) = self.read(backend, destination, states=("superseded",))
        assert settled.operation == artifact
        assert self.claims(backend, destination) == ()
        assert backend.journal.journal_unsettled((artifact.stream,)) == 0
        assert backend.journal.journal_retry((artifact.op_id,)) == 0
        assert self.append(backend, destination, artifact) == 0

    @clause("journal.requires")
    def test_what_requires_a_key_is_found(self, backend: OpenBackend, destination: str) -> None:
        """Whatever its stream; only what an earlier entry provides."""
        run = new_run("1")
        child = new_run("1", tags={"mlflow.parentRunId": run.provisional_id or ""})
        batch = points(run.provisional_id or "")
        self.append(backend, destination, run, batch, child, points("r"))
        key = f"id/{run.provisional_id}"
        found = self.read(backend, destination, requires=(key,))
        assert [entry.op_id for entry in found] == [batch.op_id, child.op_id]
        assert self.read(backend, destination, requires=("id/none",)) == ()
        for told in (run, child):
            backend.journal.journal_note(new_run("noted"), destination, f"of {told.op_id}")
        (noted,) = self.read(
            backend, destination, states=("delivered",), primary_ids=(f"of {run.op_id}",)
        )
        assert noted.primary_id == f"of {run.op_id}"
        text = "both ' and \" back\\slash\n Ünï%_"
        telling = new_run("1", tags={"text": f"a {text} b"})
        self.append(backend, destination, telling)
        for asked in (text, text.replace("both", "BOTH")):
            assert telling.op_id in {
                entry.op_id for entry in self.read(backend, destination, mentions=asked)
            }

    @clause("journal.next-attempt")
    def test_the_next_attempt_is_listed(self, backend: OpenBackend, destination: str) -> None:
        """That of the stream, or the entry's own where that is later; None once it is settled."""
        self.append(backend, destination, operation := points("r"))
        claim = self.claim(backend, destination)
        backend.journal.journal_release(claim, Release(retry_in=600.0, waiting_for="id/x"))
        (entry,) = self.read(backend, destination)
        now = backend.journal.journal_backlog(destination).now
        assert entry.next_attempt_at is not None
        assert 500 < entry.next_attempt_at - now <= 600
        assert entry.waiting_for == "id/x"
        backend.journal.journal_discard((operation.op_id,))
        (entry,) = self.read(backend, destination, states=("discarded",))
        assert (entry.next_attempt_at, entry.waiting_for) == (None, "")

    @clause("journal.prune-after-dead")
    def test_pruning_waits_for_dead_letters(self, backend: OpenBackend, destination: str) -> None:
        """What was delivered after one stays, so that its retry can be told to be superseded."""
        self.append(backend, destination, first := points("r"), second := points("r"))
        self.append(backend, destination, other := points("s"), gone := points("t"))
        backend.journal.journal_discard((gone.op_id,))
        for _ in range(2):
            claim = self.claim(backend, destination)
            for queued in claim.operations:
                outcome: Outcome = "dead" if queued.op_id == first.op_id else "delivered"
                settlement = Settlement(op_id=queued.op_id, outcome=outcome)
                backend.journal.journal_settle(claim, (settlement,))
            backend.journal.journal_release(claim, Release())
        self.poll(lambda: self._pruned(backend, destination, other, gone))
        kept = {entry.op_id for entry in self.read(backend, destination, states=_EVERY)}
        assert kept == {first.op_id, second.op_id}
        assert backend.journal.journal_retry((first.op_id,)) == 1
        self.append(backend, destination, late := points("u"))
        backend.journal.journal_discard((late.op_id,))
        self.poll(lambda: self._pruned(backend, destination, late))
        kept = {entry.op_id for entry in self.read(backend, destination, states=_EVERY)}
        assert kept == {first.op_id, second.op_id}
        self.settle(backend, self.claim(backend, destination), first, outcome="superseded")
        self.poll(lambda: self._pruned(backend, destination, first, second))

    # Another address

    @clause("journal.move")
    def test_a_backlog_moves(self, backend: OpenBackend, destination: str) -> None:
        """Entries, order, waits, dead letters and ids go; nothing is left behind."""
        elsewhere = unique("elsewhere")
        model, version = model_and_version()
        first, second, dead = points("r"), points("r"), points("d")
        self.append(backend, destination, model, version, first, second, dead)
        run = new_run("1")
        backend.journal.journal_note(run, destination, "r1")
        claims = [self.claim(backend, destination) for _ in range(3)]
        for claim in claims:
            if claim.stream == dead.stream:
                self.settle(backend, claim, dead, outcome="dead", error="refused")
            backend.journal.journal_release(claim, Release(untouched=tuple(ids_of(claim))))
        assert backend.journal.journal_move(destination, elsewhere) == 6
        assert self.read(backend, destination, states=_EVERY) == ()
        assert self.claims(backend, destination) == ()
        assert destination not in backend.journal.journal_backlog("").by_destination
        assert backend.journal.journal_backlog(elsewhere).by_destination[elsewhere] == 4
        handed_out = [self.claim(backend, elsewhere) for _ in range(2)]
        by_stream = {claim.stream: claim for claim in handed_out}
        assert ids_of(by_stream[first.stream]) == [first.op_id, second.op_id]
        assert ids_of(by_stream[model.stream]) == [model.op_id]
        self.settle(backend, by_stream[model.stream], model)
        assert ids_of(self.claim(backend, elsewhere)) == [version.op_id]
        assert backend.journal.journal_retry((dead.op_id,)) == 1
        assert ids_of(self.claim(backend, elsewhere)) == [dead.op_id]
        provisional = run.provisional_id or ""
        assert backend.journal.journal_resolve((provisional,)) == {provisional: "r1"}
        assert self.append(backend, elsewhere, first) == 0

    @clause("journal.move-again")
    def test_a_move_is_repeated(self, backend: OpenBackend, destination: str) -> None:
        """It does nothing then, and takes what came since where there is something."""
        elsewhere = unique("elsewhere")
        run_id = unique("r")
        first, second, third = points(run_id), points(run_id), points(run_id)
        self.append(backend, destination, first)
        assert backend.journal.journal_move(destination, destination) == 0
        assert backend.journal.journal_move(destination, elsewhere) == 1
        assert backend.journal.journal_move(destination, elsewhere) == 0
        self.append(backend, destination, second)
        self.append(backend, elsewhere, third)
        assert backend.journal.journal_move(destination, elsewhere) == 1
        claim = self.claim(backend, elsewhere)
        assert ids_of(claim) == [first.op_id, second.op_id, third.op_id]
        assert backend.journal.journal_unsettled((first.stream,)) == 3

    @clause("journal.move-busy")
    def test_nothing_moves_under_a_worker(self, backend: OpenBackend, destination: str) -> None:
        """A lease holds it back, on either side; what is only claimed elsewhere does not."""
        elsewhere = unique("elsewhere")
        self.append(backend, destination, operation := points("r"))
        self.append(backend, elsewhere, points("s"))
        other = self.claim(backend, elsewhere)
        claim = self.claim(backend, destination)
        with pytest.raises(JournalBusyError):
            backend.journal.journal_move(destination, elsewhere)
        assert len(self.read(backend, destination)) == 1
        backend.journal.journal_release(claim, Release(untouched=(operation.op_id,)))
        self.append(backend, destination, points("s"))
        with pytest.raises(JournalBusyError):
            backend.journal.journal_move(destination, elsewhere)
        backend.journal.journal_release(other, Release(untouched=tuple(ids_of(other))))
        assert backend.journal.journal_move(destination, elsewhere) == 2

    @clause("journal.move-fence")
    def test_a_late_worker_of_the_old_address_changes_nothing(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """Its fence is below that of the streams that became one, and its stream is gone."""
        elsewhere = unique("elsewhere")
        here, there = points("r"), points("r")
        self.append(backend, destination, here)
        late = self.claim(backend, destination, lease_seconds=SHORT_LEASE)
        self.append(backend, elsewhere, there)
        also_late = self.claim(backend, elsewhere, lease_seconds=SHORT_LEASE)
        self.poll(lambda: self._moved(backend, destination, elsewhere))
        for claim, operation in ((late, here), (also_late, there)):
            with pytest.raises(LeaseLostError):
                self.settle(backend, claim, operation)
        claim = self.eventually(backend, elsewhere)
        assert claim.fence > max(late.fence, also_late.fence)
        assert ids_of(claim) == [here.op_id, there.op_id]

    def _pruned(self, backend: OpenBackend, destination: str, *operations: LogBatch) -> bool:
        backend.journal.journal_prune(0.0)
        op_ids = tuple(operation.op_id for operation in operations)
        return self.read(backend, destination, op_ids=op_ids, states=_EVERY) == ()

    def _moved(self, backend: OpenBackend, source: str, target: str) -> bool:
        try:
            return backend.journal.journal_move(source, target) == 1
        except JournalBusyError:
            return False


def points(run_id: str) -> LogBatch:
    """Make a batch of one point: what may be repeated at any time."""
    return LogBatch(run_id=run_id, metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))
