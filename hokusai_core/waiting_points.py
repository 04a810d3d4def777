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
        if self._circuit is not None:
            return self.while_waiting(run_id, self.keep, run_id, calls)
        if not self._streams.is_queued(self._stream_of(run_id)):
            return False
        self.keep(run_id, calls)
        return True

    def while_waiting(self, run_id: str, keep: Callable[..., object], *arguments: object) -> bool:
        """Call a function, if points of a run have to wait, while no other write of the run comes.

        Args:
            run_id: Either id of the run.
            keep: Keeps points; what it keeps is in the journal before anybody counts what waits there.
            arguments: Of ``keep``.

        Returns:
            False where it is not known that they have to wait: it was not called.
        """
        streams, stream = self._streams, self._stream_of(run_id)
        if not streams.is_queued(stream):
            return False
        with streams.holding(stream):
            circuit = self._circuit
            if not streams.is_queued(stream) or (
                circuit is not None and circuit.seconds_until_probe() <= 0
            ):
                return False
            keep(*arguments)
        return True

    def keep(self, run_id: str, calls: Sequence[Points]) -> None:
        """Append points of a run that have to wait, as few entries.

        Args:
            run_id: Either id of the run.
            calls: The points.

        Raises:
            NotStoredError: Journal and spool failed.
        """
        queued_under = self._ids.provisional_id(run_id) or run_id
        for part in split_points(calls):
            self._keep(PointsEntry(queued_under, part, self._destination))

    def expect(self, run_id: str) -> None:
        """Take note that another process appends points of a run, so that its other writes come after.

        Args:
            run_id: Either id of the run.
        """
        self._streams.set_queued(self._stream_of(run_id))

    def _stream_of(self, run_id: str) -> str:
        return f"run/{self._ids.provisional_id(run_id) or run_id}"
