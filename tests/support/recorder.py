"""An observer that keeps what it hears."""

from typing import Any

from hokusai_core.events import (
    CircuitChanged,
    DeadLettered,
    Event,
    FallbackBegan,
    FallbackEnded,
    ModelRegistered,
    RunDelivered,
)
from hokusai_core.markers import hookimpl


class Recorder:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def observer_run_delivered(self, event: RunDelivered) -> None:
        self.events.append(event)

    @hookimpl
    def observer_model_registered(self, event: ModelRegistered) -> None:
        self.events.append(event)

    @hookimpl
    def observer_fallback_began(self, event: FallbackBegan) -> None:
        self.events.append(event)

    @hookimpl
    def observer_fallback_ended(self, event: FallbackEnded) -> None:
        self.events.append(event)

    @hookimpl
    def observer_circuit_changed(self, event: CircuitChanged) -> None:
        self.events.append(event)

    @hookimpl
    def observer_dead_lettered(self, event: DeadLettered) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in tuple(self.events) if isinstance(event, kind)]
