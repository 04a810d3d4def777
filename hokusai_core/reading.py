"""Asking the primary for reads, and the journal for what waits."""

import random
from collections.abc import Callable, Iterable
from typing import TypeVar

from hokusai_core.backends import OpenBackend
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.clock import Clock, Deadline
from hokusai_core.errors import (
    AuthenticationError,
    CircuitOpenError,
    CredentialsRejectedError,
    PermissionDeniedError,
)
from hokusai_core.fallback import FallbackStore
from hokusai_core.ids import IdTranslator
from hokusai_core.journal import EntryQuery, EntryState, QueuedOperation
from hokusai_core.lazy import Lazy
from hokusai_core.operations import AnyOperation
from hokusai_core.retry import Retry
from hokusai_core.settings import Settings
from hokusai_core.streams import StreamStates

T = TypeVar("T")

WAITING: tuple[EntryState, ...] = ("waiting",)
KEPT: tuple[EntryState, ...] = ("waiting", "delivered", "dead")

_PAGE = 10_000


class Sources:
    """The primary and the journal, as a reader needs them.

    Args:
        primary: The primary backend, opened with the first use.
        destination: Identity of the primary.
        fallback: Journal and spool; None where the user wants no fallback.
        circuit: The primary's circuit.
        artifact_circuit: That of the artifact store, which may be away on its own.
        ids: Translates ids.
        streams: Whether this process queued anything: then a 401 is a step of the healing.
        settings: Budgets.
        clock: Time.
    """

    def __init__(
        self,
        primary: Lazy[OpenBackend],
        destination: str,
        fallback: FallbackStore | None,
        circuit: CircuitBreaker,
        artifact_circuit: CircuitBreaker,
        ids: IdTranslator,
        streams: StreamStates,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._streams = streams
        self.primary = primary
        self.destination = destination
        self.fallback = fallback
        self.ids = ids
        self.settings = settings
        self._circuit = circuit
        self._artifact_circuit = artifact_circuit
        self._clock = clock
        self._retry = Retry(settings.attempts, clock, random.Random())

    def deadline(self) -> Deadline:
        """The time that one read may spend on the primary."""
        return Deadline(self.settings.read_timeout, self._clock)

    def idle_deadline(self) -> Deadline:
        """The time without progress that the transfer of an artifact may take."""
        return Deadline(self.settings.artifact_idle_timeout, self._clock)

    def ask(self, question: Callable[[OpenBackend], T], *, artifacts: bool = False) -> T:
        """Ask the primary, or its artifact store, unless the circuit is open.

        Raises:
            TransientError: It gave no answer, or was not asked.
            PermanentError: Its answer.
        """
        circuit = self._artifact_circuit if artifacts else self._circuit
        permit = circuit.admit()
        if permit is None:
            raise CircuitOpenError(
                f"{self.destination} failed a moment ago, so it was not asked again yet. "
                "Try again later; `hokusai status` tells whether it is back."
            )
        with circuit.judging(permit):
            try:
                # A read is harmless to repeat: a kept connection that the server has closed
                # meanwhile is no outage.
                return self._retry.call(
                    lambda: question(self.primary.get()), self.deadline(), repeatable=True
                )
            except (AuthenticationError, PermissionDeniedError) as refusal:
                if self._streams.any_queued:
                    raise CredentialsRejectedError.instead_of(refusal) from refusal
                raise

    def entries(
        self,
        *,
        streams: Iterable[str] = (),
        kinds: tuple[str, ...] = (),
        states: tuple[EntryState, ...] = WAITING,
        primary_ids: tuple[str, ...] = (),
        mentions: str = "",
    ) -> tuple[QueuedOperation, ...]:
        """Read this destination's journal entries that this release knows, in order."""
        if self.fallback is None:
            return ()
        found: list[QueuedOperation] = []
        after = 0
        while True:
            page = self.fallback.read(
                EntryQuery(
                    destination=self.destination,
                    streams=tuple(streams),
                    kinds=kinds,
                    states=states,
                    primary_ids=primary_ids,
                    mentions=mentions,
                    after=after,
                    limit=_PAGE,
                )
            )
            found.extend(entry for entry in page if entry.operation is not None)
            if len(page) < _PAGE:
                return tuple(found)
            after = page[-1].sequence

    def names(self, identifier: str) -> tuple[str | None, frozenset[str]]:
        """Give the primary's id of something (None while unknown), and all its ids."""
        primary_id = self.ids.primary_id(identifier)
        if primary_id is None:
            primary_id = self._search(identifier)
        found = {identifier}
        if primary_id:
            found.add(primary_id)
            if provisional := self.ids.provisional_id(primary_id):
                found.add(provisional)
            elif self.fallback and primary_id == identifier:
                self.ids.learn_from_journal(primary_id)
                if provisional := self.ids.provisional_id(primary_id):
                    found.add(provisional)
        return primary_id, frozenset(found)

    def _search(self, identifier: str) -> str | None:
        if self._circuit.seconds_until_probe() > 0:
            return None
        return self.ids.search(identifier, self.primary.get(), self.deadline())


def operations_of(entries: Iterable[QueuedOperation]) -> tuple[AnyOperation, ...]:
    """Give the operations of entries."""
    return tuple(entry.operation for entry in entries if entry.operation is not None)


def any_waiting(entries: Iterable[QueuedOperation]) -> bool:
    """Whether one of the entries waits for the primary."""
    return any(entry.state == "waiting" for entry in entries)
