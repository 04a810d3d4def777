"""How far a worker is with what it claimed, and what came of it in the end."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from hokusai_core.journal import Claim, QueuedOperation, Settlement
from hokusai_core.operations import AnyOperation
from hokusai_core.parcels import Parcel


@dataclass
class Step:
    """What one claim came to.

    ``kind`` is ``idle`` where no stream was due, ``progress`` where something was settled, and
    ``held`` where the stream could not go on: ``error`` says why, ``retry_in`` when it may.
    """

    kind: Literal["idle", "progress", "held"]
    stream: str = ""
    delivered: int = 0
    dead: int = 0
    error: str = ""
    retry_in: float = 0.0


@dataclass
class Delivery:
    """A parcel that the primary has, and whose settlement is under way."""

    parcel: Parcel
    sent: AnyOperation
    begun_at: float
    settlement: Future[object]


@dataclass
class Progress:
    """How far the work on one claim is.

    Args:
        claim: The claim.
        renewed_at: When its lease began last, by the worker's clock.
        left: What is not settled yet, in order.
        step: What came of it so far.
        unsettled: The last delivery, whose settlement is under way.
    """

    claim: Claim
    renewed_at: float
    left: list[QueuedOperation]
    step: Step = field(default_factory=lambda: Step("progress"))
    unsettled: Delivery | None = None

    def ends_with(self, parcel: Parcel) -> bool:
        """Say whether nothing of the claim comes after a parcel."""
        before = len(self.unsettled.parcel.members) if self.unsettled else 0
        return len(self.left) <= before + len(parcel.members)

    def take_out(
        self, settled: Sequence[Settlement] | Sequence[QueuedOperation], renewed_at: float
    ) -> None:
        """Note that operations were settled, and the lease begun anew."""
        self.renewed_at = max(self.renewed_at, renewed_at)
        gone = {one.op_id for one in settled}
        self.left = [entry for entry in self.left if entry.op_id not in gone]
