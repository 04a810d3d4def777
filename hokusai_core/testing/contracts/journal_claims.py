"""What every journal has to do when workers claim streams."""

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import LeaseLostError
from hokusai_core.journal import (
    Entry,
    Outcome,
    Release,
    Settlement,
)
from hokusai_core.operations import LogBatch, MetricPoint, UpdateRun
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.journal_steps import (
    SHORT_LEASE,
    JournalSteps,
    ids_of,
    model_and_version,
    some_batch,
)
from hokusai_core.testing.contracts.samples import file_of, new_run, unique


class JournalClaims(JournalSteps):
    """Tests of claims, leases and waits; a part of ``JournalContract``."""

    @pytest.fixture
    def backend(self) -> OpenBackend:
        """The journal under test; a subclass gives it."""
        raise NotImplementedError

    @pytest.fixture
    def destination(self) -> str:
        """A destination of this test's own, so that one database serves all tests."""
        return unique("destination")

    @clause("journal.claim-order")
    def test_a_stream_is_claimed_in_order_by_one(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """All its operations go to one worker, and to nobody else while the lease runs."""
        batches = [some_batch("r") for _ in range(3)]
        self.append(backend, destination, *batches)
        claim = self.claim(backend, destination)
        assert (claim.stream, claim.destination) == (batches[0].stream, destination)
        assert ids_of(claim) == [batch.op_id for batch in batches]
        assert self.claims(backend, destination, worker="other") == ()
        assert self.claims(backend, destination) == ()

    @clause("journal.claim-limit")
    def test_a_claim_hands_out_at_most_its_limit(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """The first ones."""
        batches = [some_batch("r") for _ in range(3)]
        self.append(backend, destination, *batches)
        claim = self.claim(backend, destination, limit=2)
        assert ids_of(claim) == [batch.op_id for batch in batches[:2]]

    @clause("journal.claim-streams")
    def test_streams_are_claimed_side_by_side(self, backend: OpenBackend, destination: str) -> None:
        """Each stream once, those of other destinations never."""
        self.append(backend, destination, some_batch("a"), some_batch("b"))
        self.append(backend, unique("elsewhere"), some_batch("c"))
        claims = [self.claim(backend, destination) for _ in range(2)]
        assert {claim.stream for claim in claims} == {"run/a", "run/b"}
        assert self.claims(backend, destination) == ()

    @clause("journal.destinations")
    def test_the_same_stream_of_two_destinations_is_two(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """Operations go to the destination that they were written for, and nowhere else."""
        elsewhere = unique("elsewhere")
        here, there = some_batch("r"), some_batch("r")
        self.append(backend, destination, here)
        self.append(backend, elsewhere, there)
        assert ids_of(self.claim(backend, elsewhere)) == [there.op_id]
        assert ids_of(self.claim(backend, destination)) == [here.op_id]

    @clause("journal.fence")
    def test_a_late_worker_changes_nothing(self, backend: OpenBackend, destination: str) -> None:
        """After another claim, the first one's settle, renewal and release are void."""
        operation = some_batch("r")
        self.append(backend, destination, operation)
        late = self.claim(backend, destination, lease_seconds=SHORT_LEASE)
        claim = self.eventually(backend, destination, worker="other")
        assert claim.fence > late.fence
        settlement = Settlement(op_id=operation.op_id, outcome="dead", error="late")
        with pytest.raises(LeaseLostError):
            backend.journal.journal_settle(late, (settlement,))
        with pytest.raises(LeaseLostError):
            backend.journal.journal_renew(late)
        with pytest.raises(LeaseLostError):
            backend.journal.journal_release(late, Release())
        (entry,) = self.read(backend, destination)
        assert (entry.state, entry.error) == ("waiting", "")
        assert backend.journal.journal_renew(claim)
        assert self.settle(backend, claim, operation) == 1

    @clause("journal.marks")
    def test_a_claim_marks_what_it_hands_out(self, backend: OpenBackend, destination: str) -> None:
        """Operations show the mark as it was; a release takes it back from the untouched."""
        batches = [some_batch("r"), some_batch("r")]
        self.append(backend, destination, *batches)
        claim = self.claim(backend, destination)
        assert [entry.maybe_applied for entry in claim.operations] == [False, False]
        release = Release(attempted=(batches[0].op_id,), untouched=(batches[1].op_id,), error="e")
        assert backend.journal.journal_release(claim, release)
        again = self.claim(backend, destination)
        assert [entry.maybe_applied for entry in again.operations] == [True, False]
        assert [entry.attempts for entry in again.operations] == [1, 0]

    @clause("journal.appended-mark")
    def test_a_mark_given_at_the_append_is_shown(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """A direct attempt may have reached the primary."""
        operation = some_batch()
        entry = Entry(operation=operation, destination=destination, maybe_applied=True, error="e")
        backend.journal.journal_append((entry,), None)
        (stored,) = self.claim(backend, destination).operations
        assert (stored.maybe_applied, stored.error) == (True, "e")

    @clause("journal.untouched")
    def test_an_untouched_creation_is_free_at_once(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """It was surely not applied, so that nobody has to wait."""
        run = new_run("1")
        self.append(backend, destination, run)
        claim = self.claim(backend, destination)
        backend.journal.journal_release(claim, Release(untouched=(run.op_id,)))
        (again,) = self.claim(backend, destination).operations
        assert not again.maybe_applied

    @clause("journal.late-creation")
    def test_an_ambiguous_creation_waits_out_its_late_effects(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """Whether the worker released it or vanished."""
        run = new_run("1")
        self.append(backend, destination, run)
        claim = self.claim(backend, destination)
        backend.journal.journal_release(claim, Release(attempted=(run.op_id,)))
        assert self.claims(backend, destination) == ()
        second, elsewhere = new_run("1"), unique("elsewhere")
        self.append(backend, elsewhere, second)
        self.claim(backend, elsewhere, lease_seconds=SHORT_LEASE)
        self.append(backend, elsewhere, marker := some_batch())
        self.until_lease_ends(backend, elsewhere, marker)
        assert self.claims(backend, elsewhere) == ()

    @clause("journal.late-overwrite")
    def test_an_ambiguous_write_that_overwrites_waits_out_its_late_effects(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """A late tag would undo a later one; a late point would not."""
        tag = LogBatch(run_id=unique("r"), tags={"k": "v"})
        self.append(backend, destination, tag)
        claim = self.claim(backend, destination)
        backend.journal.journal_release(claim, Release(attempted=(tag.op_id,)))
        assert self.claims(backend, destination) == ()
        point = MetricPoint(key="m", value=1.0, timestamp=1)
        metric = LogBatch(run_id=unique("r"), metrics=(point,))
        elsewhere = unique("elsewhere")
        self.append(backend, elsewhere, metric)
        claim = self.claim(backend, elsewhere)
        backend.journal.journal_release(claim, Release(attempted=(metric.op_id,)))
        assert ids_of(self.claim(backend, elsewhere)) == [metric.op_id]

    @clause("journal.after-the-window")
    def test_an_ambiguous_creation_comes_back(self, backend: OpenBackend, destination: str) -> None:
        """After the window it is handed out, with its mark."""
        run = new_run("1")
        self.append(backend, destination, run)
        claim = self.claim(backend, destination, late_effect_seconds=0.0)
        backend.journal.journal_release(claim, Release(attempted=(run.op_id,)))
        (again,) = self.eventually(backend, destination).operations
        assert again.maybe_applied

    @clause("journal.not-before")
    def test_nothing_is_handed_out_before_its_time(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """Nor what follows it in its stream."""
        run = new_run("1")
        early = Entry(operation=run, destination=destination, not_before=600.0)
        batch = Entry(operation=some_batch(run.provisional_id or ""), destination=destination)
        backend.journal.journal_append((early, batch), None)
        assert self.claims(backend, destination) == ()

    @clause("journal.retry-in")
    def test_a_stream_is_left_alone_as_released(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """``retry_in`` counts from the release, and the reason is listed."""
        self.append(backend, destination, some_batch("r"))
        claim = self.claim(backend, destination)
        backend.journal.journal_release(claim, Release(retry_in=600.0, error="HTTP 503"))
        assert self.claims(backend, destination) == ()
        (listed,) = self.streams(backend, destination)
        assert listed.error == "HTTP 503"
        now = backend.journal.journal_backlog(destination).now
        assert 500 < listed.next_attempt_at - now <= 600

    # Waiting for keys

    @clause("journal.waits")
    def test_a_version_waits_for_its_model(self, backend: OpenBackend, destination: str) -> None:
        """What is required in another stream is delivered first, and then the version is due."""
        model, version = model_and_version()
        self.append(backend, destination, model, version)
        claim = self.claim(backend, destination)
        assert ids_of(claim) == [model.op_id]
        assert self.claims(backend, destination) == ()
        self.settle(backend, claim, model)
        assert ids_of(self.claim(backend, destination)) == [version.op_id]

    @clause("journal.dead-requirement")
    def test_a_dead_requirement_holds_back(self, backend: OpenBackend, destination: str) -> None:
        """Until it is retried and delivered."""
        model, version = model_and_version()
        self.append(backend, destination, model, version)
        claim = self.claim(backend, destination)
        self.settle(backend, claim, model, outcome="dead")
        backend.journal.journal_release(claim, Release())
        assert self.claims(backend, destination) == ()
        assert backend.journal.journal_retry((model.op_id,)) == 1
        claim = self.claim(backend, destination)
        assert ids_of(claim) == [model.op_id]
        self.settle(backend, claim, model)
        assert ids_of(self.claim(backend, destination)) == [version.op_id]

    @clause("journal.end-after-artifacts")
    def test_a_run_ends_after_its_artifacts(self, backend: OpenBackend, destination: str) -> None:
        """A waiting artifact holds the final status back, a dead one does not."""
        artifact, open_content = file_of("r", "a.txt", b"a")
        entry = Entry(operation=artifact, destination=destination)
        backend.journal.journal_append((entry,), open_content)
        end = UpdateRun(run_id="r", status="FINISHED", end_time=1)
        self.append(backend, destination, tag := some_batch("r"), end)
        claims = [self.claim(backend, destination) for _ in range(2)]
        handed_out = {claim.stream: ids_of(claim) for claim in claims}
        assert handed_out == {"artifacts/r": [artifact.op_id], "run/r": [tag.op_id]}
        for claim in claims:
            outcome: Outcome = "dead" if claim.stream == "artifacts/r" else "delivered"
            for queued in claim.operations:
                settlement = Settlement(op_id=queued.op_id, outcome=outcome)
                backend.journal.journal_settle(claim, (settlement,))
            backend.journal.journal_release(claim, Release())
        assert ids_of(self.claim(backend, destination)) == [end.op_id]

    @clause("journal.claim-together")
    def test_a_creation_and_what_follows_go_together(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """A requirement is met by an earlier operation of the same batch."""
        run = new_run("1")
        batch = some_batch(run.provisional_id or "")
        self.append(backend, destination, run, batch)
        assert ids_of(self.claim(backend, destination)) == [run.op_id, batch.op_id]

    @clause("journal.dead-creation")
    def test_a_dead_creation_holds_back_its_stream(
        self, backend: OpenBackend, destination: str
    ) -> None:
        """Any other dead letter lets later operations pass."""
        run = new_run("1")
        self.append(backend, destination, run, some_batch(run.provisional_id or ""))
        claim = self.claim(backend, destination)
        self.settle(backend, claim, run, outcome="dead")
        backend.journal.journal_release(claim, Release())
        assert self.claims(backend, destination) == ()
        first, second = some_batch("r"), some_batch("r")
        self.append(backend, destination, first, second)
        claim = self.claim(backend, destination)
        self.settle(backend, claim, first, outcome="dead")
        backend.journal.journal_release(claim, Release(untouched=(second.op_id,)))
        assert ids_of(self.claim(backend, destination)) == [second.op_id]

    @clause("journal.ignore-waits")
    def test_a_forwarder_ignores_waits(self, backend: OpenBackend, destination: str) -> None:
        """The journal that it forwards to does its own waiting."""
        model, version = model_and_version()
        self.append(backend, destination, model, version)
        claims = [self.claim(backend, destination, ignore_waits=True) for _ in range(2)]
        assert {claim.stream for claim in claims} == {model.stream, version.stream}
