"""The way of a write: the primary, else the journal, else the spool."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from hokusai_core.backends import OpenBackend
from hokusai_core.circuit_breaker import CircuitBreaker, Permit
from hokusai_core.clock import Clock, Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import (
    AuthenticationError,
    CircuitOpenError,
    CredentialsRejectedError,
    JournalUnavailableError,
    NotStoredError,
    PermissionDeniedError,
    TransientError,
)
from hokusai_core.fallback import FallbackStore
from hokusai_core.hookspecs import OpenContent
from hokusai_core.identifiers import creation_of
from hokusai_core.ids import IdTranslator
from hokusai_core.journal import Entry
from hokusai_core.lazy import Lazy
from hokusai_core.operations import (
    AnnounceRegistration,
    AnyOperation,
    CreateRegisteredModel,
    LogArtifact,
    LogBatch,
    Operation,
    RunOperation,
    SetModelVersionTags,
)
from hokusai_core.outages import OutageReporter
from hokusai_core.queued_delivery import PENDING, QueuedDelivery, WriteResult
from hokusai_core.retry import Retry
from hokusai_core.settings import Settings
from hokusai_core.streams import StreamStates
from hokusai_core.waiting_points import WaitingPoints


@dataclass
class Circuits:
    """The circuits of one destination: artifact stores fail apart from the tracking server."""

    primary: CircuitBreaker
    artifacts: CircuitBreaker
    events: CircuitBreaker | None = None
    """Of the endpoint for registration events; not given, that of the primary."""

    def of(self, operation: AnyOperation) -> CircuitBreaker:
        """Give the circuit that an operation depends on."""
        if isinstance(operation, AnnounceRegistration):
            return self.events or self.primary
        return self.artifacts if isinstance(operation, LogArtifact) else self.primary


_KEPT_NOWHERE = (
    "The record is kept nowhere: there is no fallback. Log it again when the primary is back, or let "
    "records wait in a journal (HOKUSAI_FALLBACK)."
)
_MAY_STILL_APPEAR = (
    "Whether the primary has the record is not known: there is no fallback, and the request was sent. "
    "It may still take effect. Look for it when the primary is back, or let records wait in a journal "
    "(HOKUSAI_FALLBACK)."
)


class Router:
    """Carries writes to the primary while it is well, and to the journal while it is not.

    Args:
        primary: The primary backend, opened with the first write.
        destination: Identity of the primary.
        fallback: Journal and spool; None where the user wants no fallback.
        circuits: The primary's circuits.
        ids: Translates ids.
        streams: This process's knowledge of streams.
        reporter: Announces outages.
        settings: Budgets.
        clock: Time.
        on_queued: Called after something was queued: wakes the drainer.
        on_delivered: Called after the primary has carried out a write, with the operation, with what
            was sent of it (the primary's ids), and with the id of what it made; returns at once.
        check: Raises where the primary cannot carry an operation out; called once for each kind.

    Attributes:
        waiting_points: The short cut for points of runs whose writes wait; None without a fallback.
    """

    def __init__(
        self,
        primary: Lazy[OpenBackend],
        destination: str,
        fallback: FallbackStore | None,
        circuits: Circuits,
        ids: IdTranslator,
        streams: StreamStates,
        reporter: OutageReporter,
        settings: Settings,
        clock: Clock,
        on_queued: Callable[[], None],
        on_delivered: Callable[[AnyOperation, AnyOperation, str], None] = lambda *_: None,
        check: Callable[[AnyOperation], None] = lambda _: None,
    ) -> None:
        self._primary = primary
        self._destination = destination
        self._fallback = fallback
        self._circuits = circuits
        self._ids = ids
        self._streams = streams
        self._reporter = reporter
        self._settings = settings
        self._clock = clock
        self._on_queued = on_queued
        self._on_delivered = on_delivered
        self._check = check
        self._checked: set[type[Operation]] = set()
        self._behind_others = CircuitOpenError(
            f"Earlier writes are still waiting, so {destination} was not asked."
        )
        self._retry = Retry(settings.attempts, clock, random.Random())
        self._queue_first = (
            QueuedDelivery(fallback, destination, streams, on_queued)
            if fallback and settings.delivery == "queued"
            else None
        )
        self.waiting_points = self._waiting_points(fallback) if fallback else None

    def write(
        self, operation: AnyOperation, open_content: OpenContent | None = None
    ) -> WriteResult:
        """Carry out an operation, or keep it durably until it can be.

        Args:
            operation: Validated by the facade.
            open_content: Opens the bytes of an artifact.

        Raises:
            PermanentError: The primary refuses it.
            NotStoredError: Primary, journal and spool all failed.
            TransientError: The primary is away, and there is no fallback.
            ConfigurationError: The primary does not declare what the operation needs.
        """
        if type(operation) not in self._checked:
            self._check(operation)
            self._checked.add(type(operation))
        operation = self._canonical(operation)
        commutes = isinstance(operation, LogBatch) and operation.only_metrics
        if self._queue_first is not None:
            return self._queue_first.write(operation, open_content, commutes=commutes)
        if commutes and self._streams.is_direct(operation.stream):
            return self._write(operation, open_content)
        if any(self._streams.is_queued(one) for one in (operation.stream, *operation.lanes)):
            self._streams.flush_before(operation.kind)  # metrics that stand in a file come first
        with self._streams.holding(operation.stream):
            return self._write(operation, open_content)

    def _canonical(self, operation: AnyOperation) -> AnyOperation:
        """Give the operation with the one id that all writes to its run are queued under."""
        if (
            isinstance(operation, RunOperation)
            and creation_of(operation.run_id) is None
            and not self._streams.known(operation.stream)
        ):
            self._ids.learn_from_journal(operation.run_id)
        return self._ids.canonical(operation)

    def _write(self, operation: AnyOperation, open_content: OpenContent | None) -> WriteResult:
        if self._fallback and (_follows_queued(operation) or self._has_to_queue(operation)):
            return self._queue(self._fallback, operation, open_content, None)
        if self._fallback and self._late_effects(operation) > 0:
            try:
                return self._queue(self._fallback, operation, open_content, None)
            except NotStoredError:
                # Sent now it may be undone, not sent it is lost for certain; but never twice.
                if self._streams.is_queued(operation.stream):
                    raise
        sendable = self._sendable(operation)
        if sendable is None:
            if self._fallback is None:
                raise CircuitOpenError(
                    f"{operation.kind} names {', '.join(operation.references)}, which the primary "
                    "does not know, and there is no fallback."
                )
            return self._queue(self._fallback, operation, open_content, None)
        circuit = self._circuits.of(operation)
        permit = circuit.admit()
        if permit is None:
            failure = CircuitOpenError(
                f"{self._destination} failed a moment ago, so it was not asked again yet."
            )
            if self._fallback is None:
                failure.add_note(_KEPT_NOWHERE)
                raise failure
            return self._queue(self._fallback, operation, open_content, failure)
        try:
            receipt = self._send(sendable, open_content, circuit, permit)
        except TransientError as failure:
            if self._fallback is None:
                failure.add_note(_MAY_STILL_APPEAR if failure.maybe_applied else _KEPT_NOWHERE)
                raise
            return self._queue(self._fallback, operation, open_content, failure)
        self._delivered(operation, receipt)
        self._on_delivered(operation, sendable, receipt.primary_id)
        return WriteResult("delivered", receipt.primary_id)

    def _send(
        self,
        operation: AnyOperation,
        open_content: OpenContent | None,
        circuit: CircuitBreaker,
        permit: Permit,
    ) -> Receipt:
        settings = self._settings
        seconds = (
            settings.artifact_idle_timeout
            if isinstance(operation, LogArtifact)
            else settings.write_timeout
        )
        with circuit.judging(permit):
            # Opened before the time begins: a driver may take seconds to import.
            primary = self._primary.get()
            deadline = Deadline(seconds, self._clock)
            try:
                return self._retry.call(
                    lambda: primary.write(operation, deadline, open_content),
                    deadline,
                    repeatable=not operation.late_effects_matter,
                )
            except (AuthenticationError, PermissionDeniedError) as refusal:
                if self._streams.any_queued:
                    raise CredentialsRejectedError.instead_of(refusal) from refusal
                raise

    def _delivered(self, operation: AnyOperation, receipt: Receipt) -> None:
        found_again = (
            isinstance(operation, CreateRegisteredModel)
            and not receipt.created
            and self._streams.known(operation.stream)
        )
        self._streams.meet(operation.stream)
        if operation.creates and receipt.primary_id:
            for prefix in ("run", "artifacts"):
                self._streams.meet(f"{prefix}/{receipt.primary_id}")
        if self._fallback and operation.specification == "registry" and not found_again:
            # So that look-ups by model, alias and tag work in an outage; a failure costs nothing.
            self._fallback.note(operation, self._destination, receipt.primary_id)
        if self._reporter.under_way and not self._settings.auto_sync:
            self._reporter.over(drained=False)

    def _queue(
        self,
        fallback: FallbackStore,
        operation: AnyOperation,
        open_content: OpenContent | None,
        failure: TransientError | None,
    ) -> WriteResult:
        sent = failure is not None and failure.maybe_applied
        if sent and operation.late_effects_matter:
            waits = self._settings.late_effect_seconds
        else:
            waits = self._late_effects(operation)
        entry = Entry(
            operation=operation,
            destination=self._destination,
            # The mark lets it wait in the journal also where it comes there from the spool.
            maybe_applied=sent or waits > 0,
            not_before=waits,
            error=str(failure) if failure else "",
            fresh=True,
        )
        try:
            self._keep(fallback, entry, open_content, failure)
        except NotStoredError:
            if waits > 0:
                self._streams.await_late_effects(operation.stream, self._clock.monotonic() + waits)
            raise
        made = operation.provisional_id
        return WriteResult("pending", made) if made else PENDING

    def _keep(
        self,
        fallback: FallbackStore,
        entry: Entry,
        open_content: OpenContent | None,
        failure: TransientError | None,
    ) -> None:
        stream = entry.stream
        try:
            place = fallback.append(entry, open_content, failure or self._behind_others)
        except NotStoredError as lost:
            if any(_may_be_stored(cause) for cause in lost.causes):
                self._streams.set_queued(stream)
            raise
        self._streams.set_queued(stream)
        self._reporter.fell_back(failure, place)
        self._on_queued()

    def _waiting_points(self, fallback: FallbackStore) -> WaitingPoints:
        queue_first = self._queue_first
        return WaitingPoints(
            self._destination,
            self._streams,
            self._ids,
            None if queue_first else self._circuits.primary,
            queue_first.keep
            if queue_first
            else lambda entry: self._keep(fallback, entry, None, None),
        )

    def _late_effects(self, operation: AnyOperation) -> float:
        """Give the seconds for which an earlier write of the stream, kept nowhere, may undo this one."""
        until = self._streams.late_effects_until(operation.stream)
        if until is None or not operation.late_effects_matter:
            return 0.0
        return max(0.0, until - self._clock.monotonic())

    def _has_to_queue(self, operation: AnyOperation) -> bool:
        """Whether an earlier write of the stream, or of a lane it waits for, is still unsettled."""
        streams = (operation.stream, *operation.lanes)
        try:
            if not self._streams.known(operation.stream) and _attaches(operation):
                streams = self._meet(operation, streams)
            elif not any(self._streams.is_queued(stream) for stream in streams):
                return False
            if self._circuits.of(operation).seconds_until_probe() > 0:
                return any(self._streams.is_queued(stream) for stream in streams)
            if self._fallback and self._fallback.unsettled(streams):
                self._streams.set_queued(operation.stream)
                return True
        except JournalUnavailableError:
            self._streams.set_queued(operation.stream)
            return True
        # The lock that is held is that of this stream; other lanes are left to their own writers.
        self._streams.set_direct(operation.stream)
        for stream in streams:
            self._streams.meet(stream)
        return False

    def _meet(self, operation: AnyOperation, streams: tuple[str, ...]) -> tuple[str, ...]:
        """Learn the other id of a run that this process did not create; give all its streams."""
        if not isinstance(operation, RunOperation):
            return streams
        names = [operation.run_id]
        if creation_of(operation.run_id) is None:
            self._ids.meet(operation.run_id)
            if provisional := self._ids.provisional_id(operation.run_id):
                names.append(provisional)
        lanes = tuple(f"{prefix}/{name}" for name in names for prefix in ("run", "artifacts"))
        return tuple(dict.fromkeys((*streams, *lanes)))

    def _sendable(self, operation: AnyOperation) -> AnyOperation | None:
        sendable = self._ids.sendable(operation)
        if sendable is not None or self._circuits.primary.seconds_until_probe() > 0:
            return sendable
        deadline = Deadline(self._settings.write_timeout, self._clock)
        for identifier in operation.references:
            if self._ids.primary_id(identifier) is None:
                self._ids.search(identifier, self._primary.get(), deadline)
        return self._ids.sendable(operation)


def _attaches(operation: AnyOperation) -> bool:
    """Whether an operation writes to something that may exist, and wait, without this process.

    What gets or creates by name, or creates anew, has no order to keep with what others wrote; but a
    logged model is created among the artifacts of a run.
    """
    return isinstance(operation, RunOperation) or (
        operation.creates is None and not isinstance(operation, CreateRegisteredModel)
    )


def _follows_queued(operation: AnyOperation) -> bool:
    """Whether an operation goes with one that waits, whatever became of that meanwhile."""
    return isinstance(operation, SetModelVersionTags) and bool(operation.follows)


def _may_be_stored(cause: BaseException) -> bool:
    """Whether a journal that did not answer may have taken the operation all the same."""
    return isinstance(cause, JournalUnavailableError) and cause.maybe_applied
