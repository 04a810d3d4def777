"""The values that a journal takes and gives: entries, claims, settlements, figures.

Those of which there is one for each operation are named tuples: a backlog makes and drops them by the
thousand, and all that is in them was checked when the operation was made.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, ValidationError

from hokusai_core.errors import storable
from hokusai_core.operations import AnyOperation, Value, dump_operation, load_operation

EntryState = Literal["waiting", "delivered", "dead", "discarded", "superseded"]
"""``waiting`` for the primary; ``delivered`` (or forwarded); ``dead``: refused for good, the payload
kept; ``discarded`` by a person; ``superseded``: not sent, because what it would have set was decided
by a later operation that is delivered."""

Outcome = Literal["delivered", "dead", "superseded"]

OutsideText = Annotated[str, BeforeValidator(storable)]
"""A text that may come from outside; what no database stores is replaced in it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An operation to be appended.

    ``not_before`` counts in seconds from the append, by the journal's own clock: a creation that may
    have been applied already waits out the late-effect window. ``fresh`` says that no journal has
    been given this ``op_id`` before, so that it need not be looked for.
    """

    # Also because Pydantic swallows a Ctrl-C that comes while it asks whether a nested value is of its
    # class.
    operation: AnyOperation
    destination: str
    maybe_applied: bool = False
    not_before: float = 0.0
    error: str = ""
    fresh: bool = False

    def __post_init__(self) -> None:
        """Make the error's text one that every journal can hold."""
        if self.error:
            object.__setattr__(self, "error", storable(self.error))

    @property
    def op_id(self) -> str:
        """The operation's."""
        return self.operation.op_id

    @property
    def kind(self) -> str:
        """The operation's."""
        return self.operation.kind

    @property
    def stream(self) -> str:
        """The operation's."""
        return self.operation.stream

    @property
    def requires(self) -> frozenset[str]:
        """The operation's."""
        return self.operation.requires

    @property
    def late_effects_matter(self) -> bool:
        """The operation's."""
        return self.operation.late_effects_matter

    @property
    def payload(self) -> str:
        """The operation's JSON text."""
        return dump_operation(self.operation)

    @property
    def plain(self) -> bool:
        """Whether the entry is new, due at once, not applied, and waited for by nobody."""
        return self.fresh and not (
            self.maybe_applied or self.not_before or self.operation.provides or self.operation.after
        )


class QueuedOperation(NamedTuple):
    """An operation as it stands in the journal; times are seconds since 1970 by the journal's clock.

    ``stored`` is the operation, or its text, whose kind and schema version are known to this release;
    None where they are not, and the entry is left alone.
    ``maybe_applied`` says that an earlier attempt may have reached the primary. ``retried_at`` is
    when a person let a dead letter wait again. In listings, ``next_attempt_at`` and ``waiting_for``
    are those of its stream, while it waits.
    """

    sequence: int
    op_id: str
    kind: str
    stream: str
    destination: str
    state: EntryState
    stored: AnyOperation | str | None
    primary_id: str = ""
    attempts: int = 0
    maybe_applied: bool = False
    appended_at: float = 0.0
    settled_at: float | None = None
    retried_at: float | None = None
    next_attempt_at: float | None = None
    error: str = ""
    waiting_for: str = ""

    @property
    def operation(self) -> AnyOperation | None:
        """The operation; where only its text is held, read from it each time. None: it is unreadable."""
        stored = self.stored
        if not isinstance(stored, str):
            return stored
        try:
            return load_operation(stored)
        except ValidationError:
            return None


class ClaimRequest(Value):
    """A worker's wish for one stream.

    ``destination`` selects the primary; ``worker`` names the worker in listings; ``lease_seconds``
    is how long the stream is its own; ``limit`` is the most operations to hand out.
    ``late_effect_seconds`` is how long after the lease another worker has to leave a creation alone.
    ``ignore_waits`` is for forwarding to another journal, which does its own waiting.
    """

    destination: str
    worker: str
    lease_seconds: float = 30.0
    limit: int = 1000
    late_effect_seconds: float = 60.0
    ignore_waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A time-limited claim on one stream, with its next operations in order.

    ``fence`` is higher than that of every earlier claim on the stream; each settle and release
    carries it, and one that is too low changes nothing.
    """

    stream: str
    destination: str
    worker: str
    fence: int
    lease_seconds: float
    operations: tuple[QueuedOperation, ...]


class _SettlementFields(NamedTuple):
    op_id: str
    outcome: Outcome
    primary_id: str = ""
    error: str = ""
    late: bool = False


class Settlement(_SettlementFields):
    """What became of one claimed operation.

    ``primary_id`` is what the primary calls a creation's result; the mapping from the provisional
    id is written in the same transaction. ``error`` is the reason of a dead letter, as every journal
    can hold it. ``late`` says that a dead letter may take effect still, because it was given up and
    not refused: retried, it waits out the late-effect window.
    """

    __slots__ = ()

    def __new__(
        cls,
        op_id: str,
        outcome: Outcome,
        primary_id: str = "",
        error: str = "",
        *,
        late: bool = False,
    ) -> Self:
        """Make one."""
        return super().__new__(cls, op_id, outcome, primary_id, error and storable(error), late)


class Release(Value):
    """How a claim ends.

    ``retry_in`` is in seconds: when the stream may be claimed again, 0 for at once. ``error`` and
    ``waiting_for`` are shown in listings. ``attempted`` are the ``op_id`` of operations whose
    attempt failed; ``untouched`` of those that were surely not applied, so that their mark is taken
    back.
    """

    retry_in: float = Field(default=0.0, ge=0)
    error: OutsideText = ""
    waiting_for: OutsideText = ""
    attempted: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()


class EntryQuery(Value):
    """A selection of journal entries, joined by "and"; an empty tuple selects all.

    ``streams``, ``kinds``, ``op_ids`` and ``states`` are matched exactly. ``requires`` are keys:
    entries that need one of them, which an earlier entry provides. ``primary_ids`` are those that the
    primary gave. ``mentions`` is a text that the operation's JSON holds within a string, whatever the
    case of its letters; more entries may be given than hold it. ``after`` pages by sequence
    number; ``limit`` bounds the answer.
    """

    destination: str = ""
    streams: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    op_ids: tuple[str, ...] = ()
    states: tuple[EntryState, ...] = ("waiting",)
    requires: tuple[str, ...] = ()
    primary_ids: tuple[str, ...] = ()
    mentions: str = ""
    after: int = 0
    limit: int = 10_000


class StreamBacklog(Value):
    """What waits in one stream; ``oldest_at`` and ``next_attempt_at`` in seconds since 1970."""

    stream: str
    destination: str
    waiting: int
    oldest_at: float
    next_attempt_at: float
    waiting_for: str = ""
    error: str = ""


class Backlog(Value):
    """Figures of a journal: all destinations, and the streams of one (at most 100 are listed)."""

    waiting: int = 0
    dead: int = 0
    oldest_at: float | None = None
    by_destination: dict[str, int] = {}
    streams: tuple[StreamBacklog, ...] = ()
    now: float = 0.0
    """The journal's clock when the figures were taken."""

    def oldest_of(self, destination: str) -> float | None:
        """Give when the oldest waiting operation of a destination was queued; None for none.

        Where other destinations have a backlog, too, the streams that are listed decide.
        """
        ages = [stream.oldest_at for stream in self.streams if stream.destination == destination]
        if tuple(self.by_destination) == (destination,) and self.oldest_at is not None:
            ages.append(self.oldest_at)
        return min(ages, default=None)
