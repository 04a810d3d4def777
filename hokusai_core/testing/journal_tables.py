"""The records of the journal in memory, and which stream is due."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hokusai_core.journal import EntryQuery, EntryState, QueuedOperation
from hokusai_core.operations import AnyOperation, dump_operation, json_text

StreamKey = tuple[str, str]
"""A destination and a stream."""


@dataclass
class EntryRecord:
    """An entry as it stands; times are seconds since 1970 by the journal's clock."""

    sequence: int
    operation: AnyOperation
    destination: str
    appended_at: float
    not_before: float
    state: EntryState = "waiting"
    primary_id: str = ""
    attempts: int = 0
    maybe_applied: bool = False
    settled_at: float | None = None
    retried_at: float | None = None
    error: str = ""
    content: bytes | None = None

    @property
    def stream(self) -> StreamKey:
        """The destination and stream that the entry belongs to."""
        return (self.destination, self.operation.stream)

    def selected_by(self, query: EntryQuery) -> bool:
        """Say whether a query asks for the entry."""
        operation = self.operation
        return (
            query.destination in ("", self.destination)
            and (not query.streams or operation.stream in query.streams)
            and (not query.kinds or operation.kind in query.kinds)
            and (not query.op_ids or operation.op_id in query.op_ids)
            and (not query.states or self.state in query.states)
            and (not query.requires or not operation.requires.isdisjoint(query.requires))
            and (not query.primary_ids or self.primary_id in query.primary_ids)
            and (
                not query.mentions
                or json_text(query.mentions).lower() in dump_operation(operation).lower()
            )
            and self.sequence > query.after
        )

    def shown(self, waiting_for: str = "", next_attempt_at: float | None = None) -> QueuedOperation:
        """Give the entry as listings and claims show it."""
        return QueuedOperation(
            sequence=self.sequence,
            op_id=self.operation.op_id,
            kind=self.operation.kind,
            stream=self.operation.stream,
            destination=self.destination,
            state=self.state,
            stored=self.operation,
            primary_id=self.primary_id,
            attempts=self.attempts,
            maybe_applied=self.maybe_applied,
            appended_at=self.appended_at,
            settled_at=self.settled_at,
            retried_at=self.retried_at,
            next_attempt_at=next_attempt_at if self.state == "waiting" else None,
            error=self.error,
            waiting_for=waiting_for if self.state == "waiting" else "",
        )


@dataclass
class StreamRecord:
    """A stream's claim. ``before`` holds, by ``op_id``, mark and time as they were before it."""

    fence: int = 0
    worker: str = ""
    lease_until: float = 0.0
    late_effect_seconds: float = 0.0
    next_attempt_at: float = 0.0
    error: str = ""
    waiting_for: str = ""
    before: dict[str, tuple[bool, float]] = field(default_factory=dict)

    def held(self, now: float) -> bool:
        """Say whether a worker's lease runs."""
        return bool(self.worker) and self.lease_until > now


def streams_with_dead_letters(active: Iterable[EntryRecord]) -> set[StreamKey]:
    """Give the streams that have a dead letter, or one that was retried and is not settled yet."""
    return {
        entry.stream for entry in active if entry.state == "dead" or entry.retried_at is not None
    }


def merge_streams(
    streams: dict[StreamKey, StreamRecord], source: StreamKey, target: StreamKey
) -> None:
    """Let a stream of one destination go into that of another, under a fence above both."""
    moved = streams.pop(source, StreamRecord())
    there = streams.get(target, StreamRecord())
    streams[target] = StreamRecord(
        fence=max(moved.fence, there.fence) + 1,
        error=there.error or moved.error,
    )


@dataclass
class Candidate:
    """What a claim on one stream would hand out."""

    entries: list[EntryRecord] = field(default_factory=list)
    due_at: float = 0.0
    closed: bool = False


def candidates(
    active: Iterable[EntryRecord],
    streams: dict[StreamKey, StreamRecord],
    now: float,
    *,
    ignore_waits: bool,
) -> dict[StreamKey, Candidate]:
    """Give, for each stream that may be claimed, its first operations that nothing holds back.

    ``active`` are the waiting and the dead entries, in the order of their sequence.
    """
    waiting_keys: dict[str, set[StreamKey]] = {}
    dead_keys: set[str] = set()
    found: dict[StreamKey, Candidate] = {}
    for entry in active:
        operation = entry.operation
        if entry.state == "dead":
            dead_keys |= operation.provides
            continue
        stream = streams.get(entry.stream, StreamRecord())
        candidate = found.setdefault(entry.stream, Candidate())
        blocked = not ignore_waits and (
            not dead_keys.isdisjoint(operation.requires)
            or any(
                waiting_keys.get(key, set()) - {entry.stream}
                for key in operation.requires | operation.after
            )
        )
        if blocked or entry.not_before > now or stream.held(now) or stream.next_attempt_at > now:
            candidate.closed = True
        if not candidate.closed:
            if not candidate.entries:
                candidate.due_at = max(entry.not_before, entry.appended_at, stream.next_attempt_at)
            candidate.entries.append(entry)
        for key in operation.provides:
            waiting_keys.setdefault(key, set()).add(entry.stream)
    return {key: candidate for key, candidate in found.items() if candidate.entries}
