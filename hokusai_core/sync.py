"""Delivery of what waits in a journal: claim, send, settle.

At-least-once delivery plus effects that can be repeated safely makes exactly once:

* A claim is a lease on one stream with a fence; no transaction is open while the primary is called.
* Before each send the worker looks whether its lease still has room for the request.
* A creation that may have been applied by an earlier attempt is searched by its ``op_id`` first, and
  adopted if it is there. All other operations are harmless to repeat in order.
* Every settle carries the fence; the id mapping is written in the same transaction.
* A batch is settled while the next request of its claim is under way. That one was marked with it, so
  what a worker leaves behind is repeated from the first that is not settled, in order.
"""

import contextlib
import hashlib
import io
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, cast

from hokusai_core.backends import OpenBackend
from hokusai_core.behind import Behind
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.claim_progress import Delivery, Progress, Step
from hokusai_core.clock import Clock, Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import (
    AuthenticationError,
    CredentialsRejectedError,
    JournalUnavailableError,
    LeaseLostError,
    PermanentError,
    PermissionDeniedError,
    RejectedError,
    TransientError,
)
from hokusai_core.hookspecs import Journal, OpenContent
from hokusai_core.identifiers import rename_ids
from hokusai_core.journal import ClaimRequest, QueuedOperation, Release, Settlement
from hokusai_core.lease_keeping import kept_meanwhile, upload_limit
from hokusai_core.model_tags import MODEL_ID
from hokusai_core.operations import (
    AliasOperation,
    AnyOperation,
    CreateModelVersion,
    LogArtifact,
    LogBatch,
    SetModelVersionTags,
)
from hokusai_core.parcels import Parcel, creations_first, first_parcels
from hokusai_core.poison import PoisonGuard
from hokusai_core.primary_lookups import PrimaryLookups, UnknownIdError
from hokusai_core.printable import printable
from hokusai_core.retry import full_jitter
from hokusai_core.router import Circuits
from hokusai_core.search_pauses import SearchPauses
from hokusai_core.settings import Settings
from hokusai_core.superseding import without_superseded
from hokusai_core.watched import watched

logger = logging.getLogger(__name__)

_BACKOFF_BASE_SECONDS = 1.0
_REFERENCE_SECONDS = 5.0
_PROBE_SECONDS = 1.0
_LONG_SECONDS = 60.0
_CLAIM_LIMIT = 5_000
_WIDEST_CLAIM = 1_000_000


class _Held(Exception):  # noqa: N818 - ends the work on a claim, and is no error
    """The stream cannot go on now."""

    def __init__(self, release: Release) -> None:
        super().__init__(release.error or release.waiting_for)
        self.release = release


class _GivenUpError(RejectedError):
    """The server never refused it; the last attempt may take effect still."""


class SyncWorker:
    """Delivers one stream after another from a journal to a primary.

    Any number of workers, in any number of processes and on any number of machines, may work on one
    journal at once.

    Args:
        journal: Where operations wait.
        primary: Where they go.
        circuits: The primary's circuits, shared with this process's router.
        settings: Budgets.
        name: Names the worker in listings.
        clock: Time; goes on while the machine is suspended.
        poison: What the workers of this process know of operations that always fail; not given,
            the worker has its own.
        pauses: How long they do not search for ids that nobody knew; the same.
        on_delivered: Called after an operation was settled as delivered, with the operation, with
            what was sent of it, and with the id of what it made; returns at once.
        on_dead: Called after an operation was settled as a dead letter; returns at once.
        overlap: Settle a batch while the next one is sent. It is faster, and its second thread takes
            more from a job on the same machine.
    """

    def __init__(
        self,
        journal: Journal,
        primary: OpenBackend,
        circuits: Circuits,
        settings: Settings,
        name: str,
        clock: Clock,
        poison: PoisonGuard | None = None,
        pauses: SearchPauses | None = None,
        on_delivered: Callable[[AnyOperation, AnyOperation, str], None] = lambda *_: None,
        on_dead: Callable[[QueuedOperation, str], None] = lambda *_: None,
        *,
        overlap: bool = True,
    ) -> None:
        self._journal = journal
        self._primary = primary
        self._circuits = circuits
        self._settings = settings
        self._name = name
        self._clock = clock
        self._random = random.Random()
        self._poison = poison or PoisonGuard(settings.max_attempts)
        self._on_delivered = on_delivered
        self._on_dead = on_dead
        self._lookups = PrimaryLookups(
            journal, primary, settings.read_timeout, clock, pauses or SearchPauses()
        )
        self._overlap = overlap
        self._behind = Behind("hokusai-settle")
        self._claim_limit = _CLAIM_LIMIT

    def run_once(self) -> Step:
        """Claim the stream that is due first, and deliver what it allows.

        Raises:
            JournalUnavailableError: The journal cannot be reached.
        """
        wait = self._circuits.primary.seconds_until_probe()
        if wait > 0:
            return Step("held", error="the primary failed a moment ago", retry_in=wait)
        started = self._clock.monotonic()
        claims = self._journal.journal_claim(
            ClaimRequest(
                destination=self._primary.destination,
                worker=self._name,
                lease_seconds=self._settings.lease_seconds,
                limit=self._claim_limit,
                late_effect_seconds=self._settings.late_effect_seconds,
            )
        )
        if not claims:
            return Step("idle")
        progress = Progress(claims[0], started, list(claims[0].operations))
        progress.step.stream = claims[0].stream
        try:
            return self._deliver(progress)
        except LeaseLostError as lost:
            logger.warning(
                "The claim on %s ran out before it was settled; another worker goes on with it.",
                progress.claim.stream,
            )
            return Step("held", progress.claim.stream, error=str(lost))

    def _deliver(self, progress: Progress) -> Step:
        step = progress.step
        release = Release()
        try:
            self._drop_superseded(progress)
            for parcel in self._parcels(progress):
                self._carry(parcel, progress)
                self._claim_limit = _CLAIM_LIMIT
        except _Held as held:
            self._finish(progress)
            untouched = {entry.op_id for entry in progress.left}
            untouched -= set(held.release.attempted)
            untouched |= set(held.release.untouched)
            release = held.release.model_copy(update={"untouched": tuple(untouched)})
            step.error = release.error or f"waiting for {release.waiting_for}"
            step.retry_in = release.retry_in
            if not step.delivered and not step.dead:
                step.kind = "held"
        except BaseException as interruption:
            # Ctrl-C, or a defect: what was being sent stays marked as possibly applied. So does what
            # is not settled now, and the interruption is what has to be told.
            with contextlib.suppress(Exception):
                self._finish(progress)
            with contextlib.suppress(LeaseLostError, JournalUnavailableError):
                reason = f"interrupted by {type(interruption).__name__}"
                self._journal.journal_release(progress.claim, Release(retry_in=1.0, error=reason))
            raise
        self._journal.journal_release(progress.claim, release)
        return step

    def _drop_superseded(self, progress: Progress) -> None:
        """Settle what was retried, and was decided by a later operation meanwhile."""
        left, superseded = without_superseded(
            progress.claim, self._journal.journal_read, lambda: self._keep_lease(progress)
        )
        progress.left = creations_first(left)
        if superseded:
            self._settle(
                progress,
                [Settlement(op_id=op_id, outcome="superseded") for op_id in superseded],
            )

    def _parcels(self, progress: Progress) -> Iterator[Parcel]:
        """Give what to send in order; what was settled meanwhile has left ``progress.left``."""
        while progress.left:
            parcels = first_parcels(progress.left)
            first = next(parcels, None)
            if first is None:
                raise _Held(Release(retry_in=_LONG_SECONDS, error=_damaged(progress.left[0])))
            yield first
            yield from parcels
            self._finish(progress)

    def _carry(self, parcel: Parcel, progress: Progress) -> None:
        """Send one parcel and settle it."""
        try:
            operation = self._lookups.resolved(parcel.operation)
        except UnknownIdError as unknown:
            if len(progress.claim.operations) >= self._claim_limit:
                # What makes it may come later in this very stream, past the end of the claim.
                self._claim_limit = min(self._claim_limit * 10, _WIDEST_CLAIM)
            waiting_for = f"id/{unknown.identifier}"
            raise _Held(Release(retry_in=_REFERENCE_SECONDS, waiting_for=waiting_for)) from unknown
        content = self._content(parcel.members[0], operation, progress)
        if content is not None:
            operation, open_content = content
        else:
            open_content = None
        try:
            receipt = self._send(operation, open_content, parcel, progress)
        except PermanentError as refusal:
            self._finish(progress)
            if len(parcel.members) > 1:
                self._carry_singly(parcel, progress)
            else:
                self._bury(parcel.members[0], refusal, progress)
            return
        if operation.provisional_id and receipt.primary_id:
            self._lookups.learn(operation.provisional_id, receipt.primary_id)
        self._settle_delivered(parcel, operation, receipt.primary_id, progress)

    def _settle_delivered(
        self, parcel: Parcel, sent: AnyOperation, primary_id: str, progress: Progress
    ) -> None:
        """Settle what was sent: a batch behind the request that follows it, if it may, or at once."""
        settlements = [Settlement(entry.op_id, "delivered", primary_id) for entry in parcel.members]
        self._finish(progress)
        if self._overlap and isinstance(sent, LogBatch) and not progress.ends_with(parcel):
            now = self._clock.monotonic()
            settle = partial(self._journal.journal_settle, progress.claim, tuple(settlements))
            progress.unsettled = Delivery(parcel, sent, now, self._behind.begin(settle))
            return
        self._settle(progress, settlements)
        self._note_delivered(parcel, sent, primary_id, progress)

    def _finish(self, progress: Progress) -> None:
        """Wait for the settlement that is under way, if one is.

        Raises:
            LeaseLostError: The claim is over; what was sent since is repeated by who has it now.
            JournalUnavailableError: The journal cannot be reached.
        """
        delivery, progress.unsettled = progress.unsettled, None
        if delivery is not None:
            delivery.settlement.result()
            progress.take_out(delivery.parcel.members, delivery.begun_at)
            self._note_delivered(delivery.parcel, delivery.sent, "", progress)

    def _note_delivered(
        self, parcel: Parcel, sent: AnyOperation, primary_id: str, progress: Progress
    ) -> None:
        progress.step.delivered += len(parcel.members)
        self._on_delivered(parcel.operation, sent, primary_id)

    def _carry_singly(self, parcel: Parcel, progress: Progress) -> None:
        """Send the members of a refused request one by one, so that one bad value harms no other."""
        for entry in parcel.members:
            self._carry(Parcel(cast("AnyOperation", entry.operation), (entry,)), progress)

    def _bury(self, entry: QueuedOperation, refusal: PermanentError, progress: Progress) -> None:
        """Settle a refused operation as a dead letter, and stop where the next one refers to it."""
        logger.warning(
            "The primary refused a waiting %s for good: %s. The payload is kept as dead letter %s.",
            entry.kind,
            printable(str(refusal)).rstrip("."),
            entry.op_id,
        )
        late = isinstance(refusal, _GivenUpError)
        self._settle(progress, [Settlement(entry.op_id, "dead", error=str(refusal), late=late)])
        progress.step.dead += 1
        self._on_dead(entry, str(refusal))
        dead = cast("AnyOperation", entry.operation).provides
        if not dead:
            return
        for later in progress.left:
            if later.operation is not None and dead & later.operation.requires:
                raise _Held(
                    Release(
                        retry_in=_REFERENCE_SECONDS,
                        waiting_for=min(dead & later.operation.requires),
                    )
                )

    def _send(
        self,
        operation: AnyOperation,
        open_content: OpenContent | None,
        parcel: Parcel,
        progress: Progress,
    ) -> Receipt:
        """Make the call, with lease and circuit in order; a failure ends the work on the claim."""
        circuit = self._circuits.of(operation)
        members = parcel.members
        op_ids = tuple(entry.op_id for entry in members)
        seconds = (
            self._settings.artifact_idle_timeout
            if isinstance(operation, LogArtifact)
            else self._settings.write_timeout
        )
        # Begun before the lease is looked at, so that a pause after the look uses the time up.
        deadline = Deadline(seconds, self._clock)
        self._keep_lease(progress)
        permit = circuit.admit()
        if permit is None:
            raise _Held(
                Release(
                    # Another thread's probe may be over long before its time is.
                    retry_in=min(circuit.seconds_until_probe(), _PROBE_SECONDS),
                    error="the primary failed a moment ago",
                    untouched=op_ids,
                )
            )
        try:
            with circuit.judging(permit):
                receipt = self._call(operation, open_content, parcel, progress, deadline)
        except TransientError as failure:
            self._refuse_poison(failure, members)
            raise _Held(self._after_failure(failure, members, circuit)) from failure
        self._poison.succeeded(members[0].kind)
        return receipt

    def _call(
        self,
        operation: AnyOperation,
        open_content: OpenContent | None,
        parcel: Parcel,
        progress: Progress,
        deadline: Deadline,
    ) -> Receipt:
        """Search for what an earlier attempt may have made, or send."""
        try:
            if parcel.members[0].maybe_applied and type(operation).searchable:
                found = self._lookups.earlier_attempt(operation, deadline)
                if found is not None:
                    return found
                deadline = Deadline(self._settings.write_timeout, self._clock)
                self._keep_lease(progress)
            elif isinstance(operation, AliasOperation):
                self._lookups.refuse_moved_alias(operation, deadline)
            elif isinstance(operation, SetModelVersionTags):
                self._lookups.refuse_tags_of_no_move(operation)
            if (
                isinstance(operation, CreateModelVersion | SetModelVersionTags)
                and MODEL_ID in operation.tags
            ):
                self._lookups.refuse_taken_model_id(operation, deadline)
                deadline = Deadline(self._settings.write_timeout, self._clock)
                self._keep_lease(progress)
            with self._lease_kept(operation, progress):
                return self._primary.write(operation, deadline, open_content)
        except (AuthenticationError, PermissionDeniedError) as refusal:
            # A token that expired, or a proxy that heals in steps: a pause, never a dead letter.
            raise CredentialsRejectedError.instead_of(refusal) from refusal

    def _refuse_poison(self, failure: TransientError, members: Sequence[QueuedOperation]) -> None:
        """Give an operation up that the server fails on each time, while others of its kind succeed.

        Raises:
            RejectedError: In the place of the failure.
        """
        entry = members[0]
        if len(members) > 1 or not (failure.maybe_applied or failure.about_this):
            return
        self._poison.failed(entry.op_id, entry.kind)
        attempts = entry.attempts + 1
        if self._poison.is_poison(entry.op_id, entry.kind, attempts):
            verdict = _GivenUpError if failure.maybe_applied else RejectedError
            raise verdict(
                f"The server failed in all {attempts} attempts of this operation, while others of "
                f"its kind succeeded. The last time: {failure}"
            ) from failure

    def _after_failure(
        self, failure: TransientError, members: Sequence[QueuedOperation], circuit: CircuitBreaker
    ) -> Release:
        attempts = 1 + max(entry.attempts for entry in members)
        retry_in = failure.retry_after
        if retry_in is None:
            # Where nothing reached the primary the circuit sets the pace, so that a long outage does
            # not delay the first attempt after it; what may have been applied has a back-off of its
            # own, so that an operation which breaks the server does not take every probe.
            away = not failure.maybe_applied and circuit.seconds_until_probe() > 0
            cap = self._settings.circuit_open_max_seconds
            retry_in = (
                0.0
                if away
                else full_jitter(
                    attempts, self._random, base=min(_BACKOFF_BASE_SECONDS, cap), cap=cap
                )
            )
        matters = any(
            cast("AnyOperation", entry.operation).late_effects_matter for entry in members
        )
        if failure.maybe_applied and matters:
            retry_in = max(retry_in, self._settings.late_effect_seconds)
        op_ids = tuple(entry.op_id for entry in members)
        still_marked = failure.maybe_applied or any(entry.maybe_applied for entry in members)
        return Release(
            retry_in=max(retry_in, circuit.seconds_until_probe()),
            error=str(failure),
            attempted=op_ids,
            untouched=() if still_marked else op_ids,
        )

    def _content(
        self, entry: QueuedOperation, operation: AnyOperation, progress: Progress
    ) -> tuple[LogArtifact, OpenContent] | None:
        """Open an artifact's bytes; where they name ids, with these exchanged."""
        if not isinstance(operation, LogArtifact):
            return None

        def stored() -> BinaryIO:
            stream = self._journal.journal_open_content(entry.op_id)
            return watched(stream, lambda: self._keep_lease(progress))

        if not operation.rewrites_ids:
            return operation, stored
        with stored() as stream:
            text = rename_ids(stream.read().decode(), self._lookups.ids).encode()
        changes = {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        return operation.model_copy(update=changes), lambda: io.BytesIO(text)

    def _lease_kept(
        self, operation: AnyOperation, progress: Progress
    ) -> contextlib.AbstractContextManager[None]:
        """Keep the claim while an artifact is sent, also after its last byte was read."""
        if not isinstance(operation, LogArtifact):
            return contextlib.nullcontext()
        return kept_meanwhile(
            lambda: self._keep_lease(progress),
            progress.claim.lease_seconds / 4,
            upload_limit(operation.size),
        )

    def _keep_lease(self, progress: Progress) -> None:
        """Renew the claim where it has no room for another request."""
        held = self._clock.monotonic() - progress.renewed_at
        if held > progress.claim.lease_seconds / 2:
            now = self._clock.monotonic()
            self._journal.journal_renew(progress.claim)
            progress.renewed_at = now

    def _settle(self, progress: Progress, settlements: list[Settlement]) -> None:
        now = self._clock.monotonic()
        self._journal.journal_settle(progress.claim, tuple(settlements))
        progress.take_out(settlements, now)


def _damaged(entry: QueuedOperation) -> str:
    return (
        f"The payload of {entry.op_id} is damaged in the journal. What comes after it waits. Look at it "
        f"with `hokusai queue show {entry.op_id}`; `hokusai queue discard {entry.op_id}` gives it up."
    )
