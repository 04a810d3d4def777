"""The short cut of a write: points of a run whose writes wait already go straight to the journal.

The way of every write (:mod:`hokusai_core.router`) asks where it has to go. For the points of a run
that is known to wait, the answer is that of the call before, and nothing is left to do but to write
them down.
"""

from collections.abc import Callable, Sequence

from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.ids import IdTranslator
from hokusai_core.journal import Entry
from hokusai_core.packed_points import Points
from hokusai_core.points import PointsEntry, split_points
from hokusai_core.streams import StreamStates


class WaitingPoints:
    """Appends points to the journal where it is known that they have to wait.

    Args:
        destination: Identity of the primary.
        streams: This process's knowledge of streams.
        ids: Knows the one id that all writes to a run are queued under.
        circuit: The primary's; None in queued delivery, where all has to wait.
        keep: Appends an entry to the journal, and notes that its stream waits.
    """

    def __init__(
        self,
        destination: str,
        streams: StreamStates,
        ids: IdTranslator,
        circuit: CircuitBreaker | None,
        keep: Callable[[Entry], None],
    ) -> None:
        self._destination = destination
        self._streams = streams
        self._ids = ids
        self._circuit = circuit
        self._keep = keep

    def append(self, run_id: str, calls: Sequence[Points]) -> bool:
        """Append points, as few entries; durable when the call returns.

        Args:
            run_id: Either id of the run.
            calls: The points.

        Returns:
            False where it is not known that they have to wait: nothing was done.

        Raises:
            NotStoredError: Journal and spool failed.
        """
        queued_under = self._ids.provisional_id(run_id) or run_id
        streams = self._streams
        stream = f"run/{queued_under}"
        if not streams.is_queued(stream):
            return False
        if self._circuit is None:
            self._append(queued_under, calls)
            return True
        with streams.holding(stream):
            if not streams.is_queued(stream) or self._circuit.seconds_until_probe() <= 0:
                return False
            self._append(queued_under, calls)
        return True

    def expect(self, run_id: str) -> None:
        """Take note that another process appends points of a run, so that its other writes come after.

        Args:
            run_id: Either id of the run.
        """
        self._streams.set_queued(f"run/{self._ids.provisional_id(run_id) or run_id}")

    def _append(self, run_id: str, calls: Sequence[Points]) -> None:
        for part in split_points(calls):
            self._keep(PointsEntry(run_id, part, self._destination))
