"""From what the machinery does to the events that observers hear."""

from typing import Literal

from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.events import (
    CircuitChanged,
    CircuitName,
    CircuitPosition,
    DeadLettered,
    FallbackBegan,
    FallbackEnded,
    ModelRegistered,
    RunDelivered,
)
from hokusai_core.identifiers import is_provisional
from hokusai_core.journal import QueuedOperation
from hokusai_core.observers import ObserverSet
from hokusai_core.operations import (
    TERMINAL_STATUSES,
    AnyOperation,
    CreateModelVersion,
    UpdateRun,
)


class EventReporter:
    """Makes events of one destination; each method returns at once, and raises nothing.

    Args:
        observers: Who is told.
        destination: Identity of the primary.
    """

    def __init__(self, observers: ObserverSet, destination: str) -> None:
        self._observers = observers
        self._destination = destination

    def delivered(
        self, operation: AnyOperation, sent: AnyOperation, primary_id: str, *, waited: bool = True
    ) -> None:
        """Tell of an operation that the primary has carried out, if that is an event.

        Args:
            operation: As the user's call made it, or as it was queued.
            sent: The same with the primary's ids.
            primary_id: Id of what a creation made.
            waited: Whether it came from a journal.
        """
        if isinstance(sent, CreateModelVersion):
            self._observers.emit(
                ModelRegistered(
                    destination=self._destination,
                    name=sent.name,
                    version=primary_id,
                    provisional_id=(sent.provisional_id or "") if waited else "",
                    op_id=sent.op_id,
                    source_uri=sent.source,
                    run_id=sent.run_id,
                    model_id=sent.model_id,
                    tags=sent.tags,
                )
            )
        elif (
            isinstance(sent, UpdateRun)
            and isinstance(operation, UpdateRun)
            and sent.status in TERMINAL_STATUSES
        ):
            self._observers.emit(
                RunDelivered(
                    destination=self._destination,
                    run_id=sent.run_id,
                    provisional_id=operation.run_id if is_provisional(operation.run_id) else "",
                    status=sent.status,
                    end_time=sent.end_time,
                )
            )

    def dead(self, entry: QueuedOperation, error: str) -> None:
        """Tell of a waiting operation that was refused for good."""
        self._observers.emit(
            DeadLettered(
                destination=self._destination,
                op_id=entry.op_id,
                kind=entry.kind,
                stream=entry.stream,
                error=error,
            )
        )

    def fallback_began(self, reason: str, place: str) -> None:
        """Tell that an outage has begun; ``place`` is ``journal`` or ``spool``."""
        kept: Literal["journal", "spool"] = "spool" if place == "spool" else "journal"
        self._observers.emit(
            FallbackBegan(destination=self._destination, place=kept, reason=reason)
        )

    def fallback_ended(self, seconds: float, operations: int) -> None:
        """Tell that an outage is over."""
        self._observers.emit(
            FallbackEnded(destination=self._destination, seconds=seconds, operations=operations)
        )

    def watch(self, name: CircuitName, circuit: CircuitBreaker) -> CircuitBreaker:
        """Tell of all changes of a circuit from now on; gives the circuit back."""

        def changed(old: CircuitPosition, new: CircuitPosition) -> None:
            self._observers.emit(
                CircuitChanged(destination=self._destination, circuit=name, old=old, new=new)
            )

        circuit.listen(changed)
        return circuit
