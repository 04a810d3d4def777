"""A journal in memory, for fast tests of the sync protocol."""

import io
import time
from collections.abc import Callable, Iterable
from typing import BinaryIO

from hokusai_core.errors import (
    JournalBusyError,
    LeaseLostError,
    NotFoundError,
)
from hokusai_core.hookspecs import OpenContent
from hokusai_core.identifiers import IdKind, creation_of
from hokusai_core.journal import (
    Backlog,
    Claim,
    ClaimRequest,
    Entry,
    EntryQuery,
    EntryState,
    QueuedOperation,
    Release,
    Settlement,
    StreamBacklog,
)
from hokusai_core.markers import hookimpl
from hokusai_core.operations import AnyOperation
from hokusai_core.plugins import BackendPlugin
from hokusai_core.testing.journal_faults import JournalFaults
from hokusai_core.testing.journal_tables import (
    EntryRecord,
    StreamKey,
    StreamRecord,
    candidates,
    merge_streams,
    streams_with_dead_letters,
)

_MOST_STREAMS_LISTED = 100


class MemoryJournal(JournalFaults):
    """The whole :class:`~hokusai_core.hookspecs.Journal` specification in memory. Thread-safe.

    Nothing of it survives the process, so it is for tests only.

    Args:
        now: The journal's clock, in seconds since 1970.

    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__(now)
        self._entries: dict[str, EntryRecord] = {}
        self._active: dict[str, EntryRecord] = {}
        self._pruned: set[str] = set()
        self._mapping: dict[str, str] = {}
        self._streams: dict[StreamKey, StreamRecord] = {}
        self._sequence = 0
        self.plugin = BackendPlugin(
            name="memory",
            capabilities=frozenset({"journal"}),
            open=lambda _config: self,
            destination=lambda _config: "",
            in_memory=True,
        )
        """A manifest that opens this very object."""

    @hookimpl
    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        """Store entries; see the specification."""
        content = None
        if open_content is not None:
            with open_content() as stream:
                content = stream.read()
        with self._lock:
            now = self._check()
            appended = sum(self._add(entry, content, now) for entry in entries)
            self._commit("journal_append")
            return appended

    @hookimpl
    def journal_note(self, operation: AnyOperation, destination: str, primary_id: str) -> bool:
        """Remember what the primary has already; see the specification."""
        with self._lock:
            now = self._check()
            new = self._add(Entry(operation=operation, destination=destination), None, now)
            if new:
                self._finish(self._entries[operation.op_id], "delivered", now, primary_id)
            self._commit("journal_note")
            return new

    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        """Claim the stream that is due first; see the specification."""
        with self._lock:
            now = self._check()
            due = candidates(
                self._active.values(), self._streams, now, ignore_waits=request.ignore_waits
            )
            mine = [key for key in due if key[0] == request.destination]
            if not mine:
                return ()
            key = min(mine, key=lambda each: (due[each].due_at, due[each].entries[0].sequence))
            entries = due[key].entries[: request.limit]
            stream = self._streams.setdefault(key, StreamRecord())
            stream.fence += 1
            stream.worker = request.worker
            stream.late_effect_seconds = request.late_effect_seconds
            claim = Claim(
                stream=key[1],
                destination=key[0],
                worker=request.worker,
                fence=stream.fence,
                lease_seconds=request.lease_seconds,
                operations=tuple(entry.shown() for entry in entries),
            )
            stream.before = {
                entry.operation.op_id: (entry.maybe_applied, entry.not_before) for entry in entries
            }
            for entry in entries:
                entry.maybe_applied = True
            self._begin_lease(stream, now + request.lease_seconds)
            self._commit("journal_claim")
            return (claim,)

    @hookimpl
    def journal_renew(self, claim: Claim) -> bool:
        """Begin the lease anew; see the specification."""
        with self._lock:
            now = self._check()
            self._begin_lease(self._held(claim), now + claim.lease_seconds)
            self._commit("journal_renew")
            return True

    @hookimpl
    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        """Record outcomes and mappings; see the specification."""
        with self._lock:
            now = self._check()
            stream = self._held(claim)
            settled = [each for each in settlements if self._is_waiting(each.op_id, claim)]
            for settlement in settlements:
                # What a person discarded meanwhile, and the primary has, keeps its mapping.
                if settlement.outcome == "delivered" and settlement.op_id in self._entries:
                    self._map(self._entries[settlement.op_id], settlement.primary_id)
            for settlement in settled:
                entry = self._active[settlement.op_id]
                entry.error = settlement.error
                if settlement.outcome == "dead":
                    late = settlement.late and entry.operation.late_effects_matter
                    entry.not_before = now + stream.late_effect_seconds if late else 0.0
                    stream.before.pop(settlement.op_id, None)
                self._finish(entry, settlement.outcome, now, settlement.primary_id)
            self._begin_lease(stream, now + claim.lease_seconds)
            self._commit("journal_settle")
            return len(settled)

    @hookimpl
    def journal_release(self, claim: Claim, release: Release) -> bool:
        """End the claim; see the specification."""
        with self._lock:
            now = self._check()
            stream = self._held(claim)
            self._begin_lease(stream, now)
            for op_id, (maybe_applied, not_before) in stream.before.items():
                entry = self._active.get(op_id)
                if entry is None:
                    continue
                if op_id in release.attempted:
                    entry.attempts += 1
                    entry.error = release.error
                if op_id in release.untouched:
                    entry.maybe_applied, entry.not_before = maybe_applied, not_before
            stream.worker, stream.before = "", {}
            stream.next_attempt_at = now + release.retry_in
            stream.error, stream.waiting_for = release.error, release.waiting_for
            self._commit("journal_release")
            return True

    @hookimpl
    def journal_unsettled(self, streams: tuple[str, ...]) -> int:
        """Count what waits in these streams; see the specification."""
        with self._lock:
            self._check()
            return sum(entry.operation.stream in streams for entry in self._waiting())

    @hookimpl
    def journal_resolve(self, provisional_ids: tuple[str, ...]) -> dict[str, str]:
        """Give the known primary ids; see the specification."""
        with self._lock:
            self._check()
            return {each: self._mapping[each] for each in provisional_ids if each in self._mapping}

    @hookimpl
    def journal_aliases(self, primary_ids: tuple[str, ...]) -> dict[str, str]:
        """Give the known provisional ids; see the specification."""
        with self._lock:
            self._check()
            found: dict[str, str] = {}
            for provisional, primary in self._mapping.items():
                creation = creation_of(provisional)
                if primary in primary_ids and creation and creation[0] is not IdKind.VERSION:
                    found.setdefault(primary, provisional)
            return found

    @hookimpl
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        """Read entries; see the specification."""
        with self._lock:
            self._check()
            found = [entry for entry in self._entries.values() if entry.selected_by(query)]
            return tuple(self._listed(entry) for entry in found[: query.limit])

    @hookimpl
    def journal_open_content(self, op_id: str) -> BinaryIO:
        """Open the bytes of a LogArtifact that is not delivered; see the specification."""
        with self._lock:
            self._check()
            entry = self._active.get(op_id)
            if entry is None or entry.content is None:
                raise NotFoundError(f"No content waits for operation {op_id}.")
            return io.BytesIO(entry.content)

    @hookimpl
    def journal_backlog(self, destination: str) -> Backlog:
        """Give the figures; see the specification."""
        with self._lock:
            now = self._check()
            by_destination: dict[str, int] = {}
            by_stream: dict[StreamKey, list[EntryRecord]] = {}
            for entry in self._waiting():
                by_destination[entry.destination] = by_destination.get(entry.destination, 0) + 1
                if destination in ("", entry.destination):
                    by_stream.setdefault(entry.stream, []).append(entry)
            listed = list(by_stream.items())[:_MOST_STREAMS_LISTED]
            return Backlog(
                waiting=sum(by_destination.values()),
                dead=sum(entry.state == "dead" for entry in self._active.values()),
                oldest_at=min((entry.appended_at for entry in self._waiting()), default=None),
                by_destination=by_destination,
                streams=tuple(self._stream_backlog(key, entries) for key, entries in listed),
                now=now,
            )

    @hookimpl
    def journal_retry(self, op_ids: tuple[str, ...]) -> int:
        """Let dead letters wait again; see the specification."""
        with self._lock:
            now = self._check()
            dead = [entry for entry in self._chosen(op_ids) if entry.state == "dead"]
            for entry in dead:
                entry.state, entry.settled_at, entry.retried_at = "waiting", None, now
                entry.not_before = max(entry.not_before, now)
                self._streams.setdefault(entry.stream, StreamRecord()).next_attempt_at = now
            self._commit("journal_retry")
            return len(dead)

    @hookimpl
    def journal_discard(self, op_ids: tuple[str, ...]) -> int:
        """Discard dead or waiting operations; see the specification."""
        with self._lock:
            now = self._check()
            chosen = list(self._chosen(op_ids))
            for entry in chosen:
                self._finish(entry, "discarded", now)
            self._commit("journal_discard")
            return len(chosen)

    @hookimpl
    def journal_prune(self, retention_seconds: float) -> int:
        """Delete old settled tracking entries; see the specification."""
        with self._lock:
            before = self._check() - retention_seconds
            kept = streams_with_dead_letters(self._active.values())
            old = [
                op_id
                for op_id, entry in self._entries.items()
                if op_id not in self._active
                and entry.operation.specification == "tracking"
                and (entry.settled_at or 0.0) < before
                and entry.stream not in kept
            ]
            for op_id in old:
                del self._entries[op_id]
            self._pruned.update(old)
            self._commit("journal_prune")
            return len(old)

    @hookimpl
    def journal_move(self, source: str, target: str) -> int:
        """Give all of one destination to another; see the specification."""
        with self._lock:
            now = self._check()
            moved = [entry for entry in self._entries.values() if entry.destination == source]
            if not moved or source == target:
                return 0
            names = {entry.operation.stream for entry in moved}
            for destination in (source, target):
                for name in names:
                    stream = self._streams.get((destination, name), StreamRecord())
                    if stream.held(now):
                        raise JournalBusyError(
                            f"Worker {stream.worker!r} holds stream {name!r}; move when it is done."
                        )
            for name in names:
                merge_streams(self._streams, (source, name), (target, name))
            for entry in moved:
                entry.destination = target
            self._commit("journal_move")
            return len(moved)

    @hookimpl
    def journal_upgrade(self) -> str:
        """Do nothing: the records are this release's own."""
        self._check()
        return "in memory"

    @hookimpl
    def journal_reset_after_fork(self) -> bool:
        """Do nothing: there are no connections."""
        return False

    @hookimpl
    def journal_close(self) -> bool:
        """Do nothing: the records stay, as a database's would."""
        return True

    def _add(self, entry: Entry, content: bytes | None, now: float) -> bool:
        op_id = entry.operation.op_id
        if op_id in self._entries or op_id in self._pruned:
            return False
        self._sequence += 1
        record = EntryRecord(
            sequence=self._sequence,
            operation=entry.operation,
            destination=entry.destination,
            appended_at=now,
            not_before=now + entry.not_before if entry.not_before else 0.0,
            maybe_applied=entry.maybe_applied,
            error=entry.error,
            content=content if entry.operation.kind == "log_artifact" else None,
        )
        self._entries[op_id] = self._active[op_id] = record
        return True

    def _waiting(self) -> Iterable[EntryRecord]:
        return (entry for entry in self._active.values() if entry.state == "waiting")

    def _chosen(self, op_ids: tuple[str, ...]) -> Iterable[EntryRecord]:
        return [self._active[op_id] for op_id in dict.fromkeys(op_ids) if op_id in self._active]

    def _is_waiting(self, op_id: str, claim: Claim) -> bool:
        entry = self._active.get(op_id)
        return (
            entry is not None
            and entry.state == "waiting"
            and entry.stream == (claim.destination, claim.stream)
        )

    def _held(self, claim: Claim) -> StreamRecord:
        stream = self._streams.get((claim.destination, claim.stream))
        if stream is None or stream.fence != claim.fence or not stream.worker:
            raise LeaseLostError(
                f"Stream {claim.stream!r} is no longer held by {claim.worker!r} under fence "
                f"{claim.fence}: leave it to its new holder."
            )
        return stream

    def _begin_lease(self, stream: StreamRecord, until: float) -> None:
        stream.lease_until = until
        for op_id, (_, not_before) in stream.before.items():
            entry = self._active.get(op_id)
            if entry is not None and entry.operation.late_effects_matter:
                entry.not_before = max(not_before, until + stream.late_effect_seconds)

    def _finish(
        self, entry: EntryRecord, state: EntryState, now: float, primary_id: str = ""
    ) -> None:
        operation = entry.operation
        entry.settled_at = now
        if state == "dead":
            entry.state = "dead"
            entry.attempts += 1
        else:
            entry.state = state
            entry.content = None
            del self._active[operation.op_id]
        if state == "delivered":
            self._map(entry, primary_id)
        self._wake(operation.provides, now)

    def _map(self, entry: EntryRecord, primary_id: str) -> None:
        entry.primary_id = primary_id
        provisional = entry.operation.provisional_id
        if primary_id and provisional is not None:
            self._mapping[provisional] = primary_id

    def _wake(self, keys: frozenset[str], now: float) -> None:
        seen: set[StreamKey] = set()
        for entry in self._waiting():
            if entry.stream in seen:
                continue
            seen.add(entry.stream)
            stream = self._streams.get(entry.stream)
            needed = entry.operation.requires | entry.operation.after
            if stream is not None and not keys.isdisjoint(needed):
                stream.next_attempt_at = min(stream.next_attempt_at, now)
                stream.waiting_for = ""

    def _listed(self, entry: EntryRecord) -> QueuedOperation:
        stream = self._streams.get(entry.stream, StreamRecord())
        due = max(stream.next_attempt_at, entry.not_before, entry.appended_at)
        return entry.shown(stream.waiting_for, due)

    def _stream_backlog(self, key: StreamKey, entries: list[EntryRecord]) -> StreamBacklog:
        stream = self._streams.get(key, StreamRecord())
        first = entries[0]
        return StreamBacklog(
            stream=key[1],
            destination=key[0],
            waiting=len(entries),
            oldest_at=min(entry.appended_at for entry in entries),
            next_attempt_at=max(stream.next_attempt_at, first.not_before, first.appended_at),
            waiting_for=stream.waiting_for,
            error=stream.error,
        )
