"""The event of a tokenized registration: sent once the primary has the version, and never lost.

It is a follower of the registration that must survive the process, so it is not told like the events
of :mod:`hokusai_core.observers`, but kept where the registration is kept: an entry of the journal
behind it, for the same destination. So whoever delivers the registration delivers its event, too: the
background thread, `hokusai sync` on any machine, or the next process. Retries, dead letters and
listings are those of every entry.

While all is well it is sent at once, and noted in the journal as delivered.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast

from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.clock import Clock, Deadline
from hokusai_core.entities import ModelVersion, Receipt
from hokusai_core.errors import BackendError, ConfigurationError, NotStoredError, TransientError
from hokusai_core.event_operations import AnnounceRegistration, event_id
from hokusai_core.fallback import FallbackStore
from hokusai_core.identifiers import OP_ID_TAG, creation_of
from hokusai_core.ids import IdTranslator
from hokusai_core.journal import Entry, EntryQuery, EntryState, QueuedOperation
from hokusai_core.lazy import Lazy
from hokusai_core.settings import Settings
from hokusai_core.values import Value

if TYPE_CHECKING:
    from hokusai_core.event_endpoint import EventEndpoint

logger = logging.getLogger("hokusai")

KIND = "announce_registration"
"""The kind of these entries in the journal."""

RegistrationEventState = Literal["off", "pending", "delivered", "failed", "discarded"]
"""``off``: no endpoint is configured, or none was when the model was registered; ``pending``: it is
kept, and sent when that is possible; ``delivered``; ``failed``: refused for good, or kept nowhere, to be
sent again with ``hokusai events send``; ``discarded`` by a person."""

_STATE_OF: dict[EntryState, RegistrationEventState] = {
    "waiting": "pending",
    "delivered": "delivered",
    "dead": "failed",
    "discarded": "discarded",
    "superseded": "discarded",
}
_ALL: tuple[EntryState, ...] = ("waiting", "delivered", "dead", "discarded", "superseded")


class RegistrationEvent(Value):
    """What became of the event of one registration.

    ``op_id`` names it in ``hokusai queue``; ``name``, ``version`` and ``token_id`` are the model's.
    ``error`` says why it is not delivered yet, or never will be.
    """

    state: RegistrationEventState
    op_id: str = ""
    name: str = ""
    version: str = ""
    token_id: str = ""
    error: str = ""


class RegistrationEvents:
    """Sends and keeps the registration events of one destination.

    Args:
        settings: Endpoint, key and budgets.
        destination: Identity of the primary.
        fallback: Where events are kept; None where the user wants no fallback.
        ids: Translates ids.
        circuit: The endpoint's circuit.
        clock: Time.
        on_kept: Called after an event was kept: wakes the drainer.
    """

    def __init__(
        self,
        settings: Settings,
        destination: str,
        fallback: FallbackStore | None,
        ids: IdTranslator,
        circuit: CircuitBreaker,
        clock: Clock,
        on_kept: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._destination = destination
        self._fallback = fallback
        self._ids = ids
        self._circuit = circuit
        self._clock = clock
        self._on_kept = on_kept
        self._endpoint: Lazy[EventEndpoint] = Lazy(self._open)

    def reset_after_fork(self) -> None:
        """In a forked child: none of the parent's locks."""
        self._circuit.reset_after_fork()
        self._endpoint.reset_after_fork()

    @property
    def on(self) -> bool:
        """Whether an endpoint is configured."""
        return bool(self._settings.events_endpoint)

    def announce(
        self,
        version: ModelVersion,
        *,
        token_id: str,
        proposal_identifier: str,
        metric_name: str,
        baseline_value: float,
        mlflow_run_id: str | None = None,
        **optional: Any,
    ) -> RegistrationEvent:
        """Send the event of a registration, or keep it until it can be sent. Never raises.

        Bounded in time by ``write_timeout``; where the version waits, or the endpoint failed a
        moment ago, nothing is sent now.

        Args:
            version: As it was registered; its tags name its creation (``hokusai.op_id``).
            token_id: As it is stored.
            proposal_identifier: As it is stored.
            metric_name: The benchmark's.
            baseline_value: The benchmark's.
            mlflow_run_id: The run that the model came from.
            optional: ``api_schema``, ``eval_spec``, ``scorer_ref``, ``primary_metric``,
                ``benchmark_spec_id``; None is not given.
        """
        if not self.on:
            return RegistrationEvent(state="off")
        operation = AnnounceRegistration(
            op_id=event_id(_creation_of(version)),
            name=version.name,
            version=version.version,
            token_id=token_id,
            proposal_identifier=proposal_identifier,
            metric_name=metric_name,
            baseline_value=baseline_value,
            mlflow_run_id=mlflow_run_id,
            tags={key: value for key, value in version.tags.items() if key != OP_ID_TAG},
            **optional,
        )
        sendable = self._sendable(operation) if version.sync_state == "delivered" else None
        return self._send_or_keep(operation, sendable)

    def send(self, operation: AnnounceRegistration, deadline: Deadline) -> Receipt:
        """Send one event, as a worker does.

        Raises:
            TransientError: No usable answer came.
            PermanentError: The endpoint refuses it.
        """
        return self._endpoint.get().send(operation, deadline)

    def of(self, version: ModelVersion) -> RegistrationEvent:
        """Give what became of the event of one version, as the journal knows it.

        Raises:
            JournalUnavailableError: Journal or spool cannot be reached.
        """
        query = EntryQuery(op_ids=(event_id(_creation_of(version)),), states=_ALL)
        found = self._read(query, whole=True)
        return found[0] if found else RegistrationEvent(state="off")

    def all(
        self, *states: RegistrationEventState, limit: int = 10_000, whole: bool = False
    ) -> tuple[RegistrationEvent, ...]:
        """List this destination's events in the order of their registrations.

        Args:
            states: Those in these states; none for all.
            limit: Most that are listed.
            whole: Raise where not all that is kept can be read; else what can be read is listed.

        Raises:
            ConfigurationError: With ``whole``, there is no fallback, so no event is kept.
            JournalUnavailableError: With ``whole``, journal or spool cannot be reached.
        """
        if whole and self._fallback is None:
            raise ConfigurationError(
                "There is no fallback (HOKUSAI_FALLBACK=none): no event is kept."
            )
        wanted = tuple(state for state in _ALL if not states or _STATE_OF[state] in states)
        query = EntryQuery(destination=self._destination, kinds=(KIND,), states=wanted, limit=limit)
        return self._read(query, whole=whole)

    def _send_or_keep(
        self, operation: AnnounceRegistration, sendable: AnnounceRegistration | None
    ) -> RegistrationEvent:
        if sendable is None:
            return self._keep(operation, None)
        permit = self._circuit.admit()
        if permit is None:
            return self._keep(operation, None)
        try:
            self.send(sendable, Deadline(self._settings.write_timeout, self._clock))
        except BackendError as failure:
            # A refusal, too, is kept: the worker that meets it again makes it a dead letter.
            if isinstance(failure, TransientError):
                self._circuit.failed(permit)
            else:
                self._circuit.succeeded(permit)
            return self._keep(operation, failure)
        except BaseException:
            self._circuit.abandoned(permit)
            raise
        self._circuit.succeeded(permit)
        if self._fallback:
            self._fallback.note(sendable, self._destination, "")
        return _outcome(sendable, "delivered")

    def _keep(
        self, operation: AnnounceRegistration, failure: BackendError | None
    ) -> RegistrationEvent:
        error = str(failure) if failure else ""
        entry = Entry(operation=operation, destination=self._destination, error=error)
        if self._fallback is not None:
            try:
                self._fallback.append(entry, None, failure)
            except NotStoredError as lost:
                error = str(lost)
            else:
                self._on_kept()
                return _outcome(operation, "pending", error)
        if self._fallback is None:
            error = (
                f"{error or 'It could not be sent at once.'} Without a fallback nothing is kept."
            )
        logger.warning(
            "The registration event of %s version %s was not sent: %s The model is registered. Send "
            "the event again with `hokusai events send`.",
            operation.name,
            operation.version,
            error,
        )
        return _outcome(operation, "failed", error)

    def _read(self, query: EntryQuery, *, whole: bool) -> tuple[RegistrationEvent, ...]:
        if self._fallback is None:
            return ()
        entries = self._fallback.read(query, whole=whole)
        return tuple(event for entry in entries if (event := self._event(entry)) is not None)

    def _event(self, entry: QueuedOperation) -> RegistrationEvent | None:
        operation = entry.operation
        if not isinstance(operation, AnnounceRegistration):
            return None
        shown = self._sendable(operation) or operation
        return _outcome(shown, _STATE_OF[entry.state], entry.error)

    def _sendable(self, operation: AnnounceRegistration) -> AnnounceRegistration | None:
        """Give the event with the primary's ids; None while one is not known."""
        return cast("AnnounceRegistration | None", self._ids.sendable(operation))

    def _open(self) -> "EventEndpoint":
        from hokusai_core.event_endpoint import EventEndpoint  # ssl and http, where they are needed

        return EventEndpoint(self._settings)


def _creation_of(version: ModelVersion) -> str:
    """Give the ``op_id`` of a version's creation, else what names the version."""
    provisional = creation_of(version.version)
    if provisional:
        return provisional[1]
    return version.tags.get(OP_ID_TAG) or f"{version.name}/{version.version}"


def _outcome(
    operation: AnnounceRegistration, state: RegistrationEventState, error: str = ""
) -> RegistrationEvent:
    return RegistrationEvent(
        state=state,
        op_id=operation.op_id,
        name=operation.name,
        version=operation.version,
        token_id=operation.token_id,
        error="" if state == "delivered" else error,
    )
