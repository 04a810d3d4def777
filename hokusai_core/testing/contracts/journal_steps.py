"""The steps that tests of a journal are made of."""

import time
from collections.abc import Callable

from hokusai_core.backends import OpenBackend
from hokusai_core.journal import (
    Claim,
    ClaimRequest,
    Entry,
    EntryQuery,
    Outcome,
    QueuedOperation,
    Release,
    Settlement,
    StreamBacklog,
)
from hokusai_core.operations import (
    AnyOperation,
    CreateModelVersion,
    CreateRegisteredModel,
    LogBatch,
    Operation,
)
from hokusai_core.testing.contracts.samples import unique

SHORT_LEASE = 0.05
"""Seconds of a lease that a test lets run out."""


class JournalSteps:
    """Shortened calls to the hooks of a journal."""

    patience: float = 30.0
    """Seconds that a test waits for what has to come."""

    def append(self, backend: OpenBackend, destination: str, *operations: AnyOperation) -> int:
        """Append operations in one transaction."""
        entries = tuple(Entry(operation, destination) for operation in operations)
        return backend.journal.journal_append(entries, None)

    def read(
        self, backend: OpenBackend, destination: str, **selection: object
    ) -> tuple[QueuedOperation, ...]:
        """Read the entries of a destination."""
        query = EntryQuery.model_validate({"destination": destination, **selection})
        return backend.journal.journal_read(query)

    def delivered(self, backend: OpenBackend, operation: Operation) -> bool:
        """Say whether an operation is delivered."""
        query = EntryQuery(op_ids=(operation.op_id,), states=("delivered",))
        return bool(backend.journal.journal_read(query))

    def claims(
        self, backend: OpenBackend, destination: str, **request: object
    ) -> tuple[Claim, ...]:
        """Claim a stream: one claim or none."""
        wish = {"destination": destination, "worker": "worker", **request}
        return backend.journal.journal_claim(ClaimRequest.model_validate(wish))

    def claim(self, backend: OpenBackend, destination: str, **request: object) -> Claim:
        """Claim a stream that has to be due."""
        claims = self.claims(backend, destination, **request)
        assert len(claims) == 1
        return claims[0]

    def eventually(self, backend: OpenBackend, destination: str, **request: object) -> Claim:
        """Claim a stream as soon as it is due."""
        found: list[Claim] = []

        def claimed() -> bool:
            found.extend(self.claims(backend, destination, **request))
            return bool(found)

        self.poll(claimed)
        return found[0]

    def until_lease_ends(self, backend: OpenBackend, destination: str, marker: Operation) -> None:
        """Wait until a lease that begins now, as short as the one before it, is over."""
        claim = self.claim(backend, destination, lease_seconds=SHORT_LEASE)
        assert ids_of(claim) == [marker.op_id]
        self.settle(backend, self.eventually(backend, destination, worker="other"), marker)

    def settle(
        self,
        backend: OpenBackend,
        claim: Claim,
        operation: Operation,
        *,
        outcome: Outcome = "delivered",
        primary_id: str = "",
        error: str = "",
    ) -> int:
        """Settle one operation of a claim."""
        settlement = Settlement(
            op_id=operation.op_id, outcome=outcome, primary_id=primary_id, error=error
        )
        return backend.journal.journal_settle(claim, (settlement,))

    def settle_all(self, backend: OpenBackend, destination: str) -> None:
        """Deliver all that is due."""
        while claims := self.claims(backend, destination):
            (claim,) = claims
            settlements = tuple(
                Settlement(op_id=entry.op_id, outcome="delivered") for entry in claim.operations
            )
            backend.journal.journal_settle(claim, settlements)
            backend.journal.journal_release(claim, Release())

    def streams(self, backend: OpenBackend, destination: str) -> tuple[StreamBacklog, ...]:
        """List what waits by stream."""
        return backend.journal.journal_backlog(destination).streams

    def poll(self, condition: Callable[[], object]) -> None:
        """Wait until a condition is met."""
        end = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < end, "the journal did not get there in time"
            time.sleep(0.01)


def some_batch(run_id: str = "") -> LogBatch:
    """Make a batch of one param, of a run of its own where none is named."""
    return LogBatch(run_id=run_id or unique("r"), params={"k": "v"})


def model_and_version() -> tuple[CreateRegisteredModel, CreateModelVersion]:
    """Make the creations of a registered model and of a version that waits for it."""
    name = unique("model")
    return CreateRegisteredModel(name=name), CreateModelVersion(name=name, source="s3://b/m")


def ids_of(claim: Claim) -> list[str]:
    """Give the ids of the operations that a claim hands out."""
    return [entry.op_id for entry in claim.operations]
