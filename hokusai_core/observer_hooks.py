"""The specification of observers: the one that is broadcast, to any number of implementations.

An observer is an object (or a module) that implements any of these hooks, each with the one argument
``event``. It is declared as an entry point in ``hokusai.observers``, or passed as ``observers=``. Rules
for all hooks:

* They are called in the process that delivers: the user's own, or ``hokusai sync``. What a process
  of the user's own delivers for it (``auto_sync="process"``) is told in the user's own.
* Each observer has a thread of its own, which calls it for one event after another, in order. No lock
  of this library is held meanwhile, so a hook may call the library.
* A result is ignored. An exception is logged (the first one of each observer), counted in ``status``,
  and harms nobody.
* Each event is told at most once. A process that is killed takes the events with it that it has not
  told yet: what must not be lost belongs into a journal.
"""

from hokusai_core.events import (
    CircuitChanged,
    DeadLettered,
    Event,
    FallbackBegan,
    FallbackEnded,
    ModelRegistered,
    RunDelivered,
)
from hokusai_core.markers import hookspec


class ObserverHooks:
    """What an observer may implement; whatever it leaves out is not told to it."""

    @hookspec
    def observer_run_delivered(self, event: RunDelivered) -> None:
        """Hear that a run has ended, and all of it is on the primary.

        Writes to a run after its end (which MLflow allows) are not told.
        """

    @hookspec
    def observer_model_registered(self, event: ModelRegistered) -> None:
        """Hear that the primary has a new model version, with its real number."""

    @hookspec
    def observer_fallback_began(self, event: FallbackBegan) -> None:
        """Hear that writes are kept from now on; once in each outage and process."""

    @hookspec
    def observer_fallback_ended(self, event: FallbackEnded) -> None:
        """Hear that nothing waits any more in this process's journal for the primary."""

    @hookspec
    def observer_circuit_changed(self, event: CircuitChanged) -> None:
        """Hear that a circuit of this process has opened, is tried, or has closed."""

    @hookspec
    def observer_dead_lettered(self, event: DeadLettered) -> None:
        """Hear that the primary refused a waiting operation for good."""


HOOK_OF: dict[type[Event], str] = {
    RunDelivered: "observer_run_delivered",
    ModelRegistered: "observer_model_registered",
    FallbackBegan: "observer_fallback_began",
    FallbackEnded: "observer_fallback_ended",
    CircuitChanged: "observer_circuit_changed",
    DeadLettered: "observer_dead_lettered",
}
"""The hook that each kind of event is told to."""
