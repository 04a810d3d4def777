"""Journals that each break one clause. Each is the journal in memory with one defect."""

import io
from dataclasses import replace
from typing import BinaryIO

from hokusai_core.errors import JournalUnavailableError
from hokusai_core.hookspecs import OpenContent
from hokusai_core.identifiers import creation_of
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
)
from hokusai_core.markers import hookimpl
from hokusai_core.operations import AnyOperation, LogBatch
from hokusai_core.testing import MemoryJournal
from hokusai_core.testing.journal_tables import EntryRecord, StreamRecord
from tests.kit.broken import breaks


@breaks("journal.append-once")
class TakesADeliveredOneForNew(MemoryJournal):
    def _add(self, entry: Entry, content: bytes | None, now: float) -> bool:
        if entry.operation.op_id not in self._active:
            self._entries.pop(entry.operation.op_id, None)
        return super()._add(entry, content, now)


@breaks("journal.payload")
class StripsTexts(MemoryJournal):
    def _add(self, entry: Entry, content: bytes | None, now: float) -> bool:
        operation = entry.operation
        if isinstance(operation, LogBatch):
            params = {key: value.strip() for key, value in operation.params.items()}
            operation = operation.model_copy(update={"params": params})
        return super()._add(replace(entry, operation=operation), content, now)


@breaks("journal.payload")
class LosesTheSignOfZero(MemoryJournal):
    def _add(self, entry: Entry, content: bytes | None, now: float) -> bool:
        operation = entry.operation
        if isinstance(operation, LogBatch):
            points = tuple(
                point.model_copy(update={"value": point.value + 0.0}) for point in operation.metrics
            )
            operation = operation.model_copy(update={"metrics": points})
        return super()._add(replace(entry, operation=operation), content, now)


@breaks("journal.selection")
class IgnoresTheLimit(MemoryJournal):
    @hookimpl
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        return super().journal_read(query.model_copy(update={"limit": 10_000}))


@breaks("journal.selection")
class ReadsBackwards(MemoryJournal):
    @hookimpl
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        return super().journal_read(query)[::-1]


@breaks("journal.content", "journal.durable")
class CutsContent(MemoryJournal):
    @hookimpl
    def journal_open_content(self, op_id: str) -> BinaryIO:
        with super().journal_open_content(op_id) as stream:
            return io.BytesIO(stream.read(65_536))


@breaks("journal.durable")
class KeepsEntriesToItself(MemoryJournal):
    """Says that it has stored an artifact, and has not."""

    @hookimpl
    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        if open_content is not None:
            return len(entries)
        return super().journal_append(entries, open_content)


@breaks("journal.mapping", "journal.discarded-meanwhile", "journal.prune")
class ForgetsMappings(MemoryJournal):
    def _map(self, entry: EntryRecord, primary_id: str) -> None:
        entry.primary_id = primary_id


@breaks("journal.discarded-meanwhile")
class RefusesWhatIsDiscarded(MemoryJournal):
    @hookimpl
    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        waiting = tuple(each for each in settlements if each.op_id in self._active)
        return super().journal_settle(claim, waiting)


@breaks("journal.version-numbers")
class TakesNumbersForIds(MemoryJournal):
    @hookimpl
    def journal_aliases(self, primary_ids: tuple[str, ...]) -> dict[str, str]:
        return {
            primary: provisional
            for provisional, primary in self._mapping.items()
            if primary in primary_ids and creation_of(provisional)
        }


@breaks("journal.note")
class QueuesWhatIsNoted(MemoryJournal):
    @hookimpl
    def journal_note(self, operation: AnyOperation, destination: str, primary_id: str) -> bool:
        entry = Entry(operation=operation, destination=destination)
        return bool(self.journal_append((entry,), None))


@breaks("journal.figures")
class CountsEntriesTwice(MemoryJournal):
    @hookimpl
    def journal_backlog(self, destination: str) -> Backlog:
        figures = super().journal_backlog(destination)
        doubled = {name: count * 2 for name, count in figures.by_destination.items()}
        return figures.model_copy(update={"by_destination": doubled})


@breaks("journal.figures", "journal.superseded")
class CountsEverything(MemoryJournal):
    @hookimpl
    def journal_unsettled(self, streams: tuple[str, ...]) -> int:
        return len(self._entries)


@breaks("journal.exclusive-claims", "journal.claim-order", "journal.claim-streams")
class KeepsNoLease(MemoryJournal):
    def _begin_lease(self, stream: StreamRecord, until: float) -> None:
        super()._begin_lease(stream, until)
        stream.lease_until = 0.0


@breaks("journal.close")
class ForgetsAllWhenClosed(MemoryJournal):
    @hookimpl
    def journal_close(self) -> bool:
        self._entries.clear()
        self._active.clear()
        return True


class ChangesClaims(MemoryJournal):
    """Hands out something else than it should."""

    def changed(self, operations: tuple[QueuedOperation, ...]) -> tuple[QueuedOperation, ...]:
        return operations

    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        return tuple(
            replace(claim, operations=self.changed(claim.operations))
            for claim in super().journal_claim(request)
        )


@breaks("journal.claim-order", "journal.claim-together", "journal.claim-limit")
class HandsOutBackwards(ChangesClaims):
    def changed(self, operations: tuple[QueuedOperation, ...]) -> tuple[QueuedOperation, ...]:
        return operations[::-1]


@breaks("journal.claim-order", "journal.claim-together")
class HandsOutTheFirstOnly(ChangesClaims):
    def changed(self, operations: tuple[QueuedOperation, ...]) -> tuple[QueuedOperation, ...]:
        return operations[:1]


@breaks("journal.claim-limit")
class IgnoresTheClaimsLimit(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        return super().journal_claim(request.model_copy(update={"limit": 1000}))


@breaks("journal.destinations", "journal.claim-streams")
class FeedsAnotherDestination(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        for entry in self._active.values():
            found = super().journal_claim(
                request.model_copy(update={"destination": entry.destination})
            )
            if found:
                return found
        return ()


@breaks("journal.fence", "journal.move-fence")
class IgnoresTheFence(MemoryJournal):
    def _held(self, claim: Claim) -> StreamRecord:
        return self._streams.setdefault((claim.destination, claim.stream), StreamRecord())


@breaks("journal.fence")
class NeverRaisesTheFence(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        for stream in self._streams.values():
            stream.fence = 0
        return super().journal_claim(request)


@breaks("journal.marks", "journal.cut-claim", "journal.after-the-window")
class MarksNothing(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        before = {op_id: entry.maybe_applied for op_id, entry in self._active.items()}
        try:
            return super().journal_claim(request)
        finally:
            for op_id, mark in before.items():
                self._active[op_id].maybe_applied = mark


@breaks("journal.marks")
class CountsNoAttempts(MemoryJournal):
    @hookimpl
    def journal_release(self, claim: Claim, release: Release) -> bool:
        return super().journal_release(claim, release.model_copy(update={"attempted": ()}))


@breaks("journal.appended-mark")
class ForgetsTheMarkOfAnAppend(MemoryJournal):
    def _add(self, entry: Entry, content: bytes | None, now: float) -> bool:
        return super()._add(replace(entry, maybe_applied=False), content, now)


@breaks("journal.untouched", "journal.marks")
class LeavesTheMark(MemoryJournal):
    @hookimpl
    def journal_release(self, claim: Claim, release: Release) -> bool:
        return super().journal_release(claim, release.model_copy(update={"untouched": ()}))


@breaks("journal.late-creation", "journal.late-overwrite")
class KnowsNoLateEffects(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        return super().journal_claim(request.model_copy(update={"late_effect_seconds": 0.0}))


@breaks("journal.late-overwrite")
class TakesTagsForHarmless(MemoryJournal):
    def _begin_lease(self, stream: StreamRecord, until: float) -> None:
        super()._begin_lease(stream, until)
        for op_id, (_, not_before) in stream.before.items():
            if op_id in self._active and self._active[op_id].operation.kind == "log_batch":
                self._active[op_id].not_before = not_before


@breaks("journal.after-the-window")
class NeverHandsOutAgain(MemoryJournal):
    @hookimpl
    def journal_release(self, claim: Claim, release: Release) -> bool:
        return super().journal_release(claim, release.model_copy(update={"retry_in": 600.0}))


@breaks("journal.not-before")
class IgnoresNotBefore(MemoryJournal):
    def _add(self, entry: Entry, content: bytes | None, now: float) -> bool:
        return super()._add(replace(entry, not_before=0.0), content, now)


@breaks("journal.retry-in", "journal.next-attempt")
class RetriesAtOnce(MemoryJournal):
    @hookimpl
    def journal_release(self, claim: Claim, release: Release) -> bool:
        return super().journal_release(claim, release.model_copy(update={"retry_in": 0.0}))


@breaks(
    "journal.waits",
    "journal.dead-requirement",
    "journal.end-after-artifacts",
    "journal.dead-creation",
)
class WaitsForNothing(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        return super().journal_claim(request.model_copy(update={"ignore_waits": True}))


@breaks("journal.dead-requirement", "journal.dead-creation")
class LetsTheDeadPass(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        dead = {op_id: each for op_id, each in self._active.items() if each.state == "dead"}
        for op_id in dead:
            del self._active[op_id]
        try:
            return super().journal_claim(request)
        finally:
            self._active.update(dead)


@breaks("journal.waits")
class NeverWakes(MemoryJournal):
    """What waits for a key in another stream is not due when the key comes."""

    @hookimpl
    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        settled = super().journal_settle(claim, settlements)
        for entry in self._waiting():
            stream = self._streams.setdefault(entry.stream, StreamRecord())
            stream.next_attempt_at = self._now() + 600.0
        return settled


@breaks("journal.ignore-waits")
class AlwaysWaits(MemoryJournal):
    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        return super().journal_claim(request.model_copy(update={"ignore_waits": False}))


@breaks("journal.dead-letter")
class LosesDeadPayloads(MemoryJournal):
    @hookimpl
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        return tuple(
            entry._replace(stored=None) if entry.state == "dead" else entry
            for entry in super().journal_read(query)
        )


@breaks("journal.dead-letter")
class RetriesBehindTheOthers(MemoryJournal):
    @hookimpl
    def journal_retry(self, op_ids: tuple[str, ...]) -> int:
        count = super().journal_retry(op_ids)
        for op_id in op_ids:
            if op_id in self._active:
                self._active[op_id] = self._active.pop(op_id)
        return count


@breaks("journal.discard")
class DeliversWhatIsDiscarded(MemoryJournal):
    @hookimpl
    def journal_discard(self, op_ids: tuple[str, ...]) -> int:
        return sum(op_id in self._active for op_id in op_ids)


@breaks("journal.prune")
class PrunesTheRegistry(MemoryJournal):
    @hookimpl
    def journal_prune(self, retention_seconds: float) -> int:
        old = [op_id for op_id in self._entries if op_id not in self._active]
        for op_id in old:
            del self._entries[op_id]
        self._pruned.update(old)
        return len(old)


@breaks("journal.prune")
class ForgetsPrunedIds(MemoryJournal):
    @hookimpl
    def journal_prune(self, retention_seconds: float) -> int:
        count = super().journal_prune(retention_seconds)
        self._pruned.clear()
        return count


@breaks("journal.prune-after-dead")
class PrunesBehindTheDead(MemoryJournal):
    @hookimpl
    def journal_prune(self, retention_seconds: float) -> int:
        dead = [entry for entry in self._active.values() if entry.state == "dead"]
        for entry in dead:
            entry.state = "waiting"
        try:
            return super().journal_prune(retention_seconds)
        finally:
            for entry in dead:
                entry.state = "dead"


@breaks("journal.retry-mark")
class MarksNoRetry(MemoryJournal):
    @hookimpl
    def journal_retry(self, op_ids: tuple[str, ...]) -> int:
        count = super().journal_retry(op_ids)
        for entry in self._active.values():
            entry.retried_at = None
        return count


@breaks("journal.superseded")
class KeepsTheSuperseded(MemoryJournal):
    def _finish(
        self, entry: EntryRecord, state: EntryState, now: float, primary_id: str = ""
    ) -> None:
        super()._finish(entry, "dead" if state == "superseded" else state, now, primary_id)


@breaks("journal.requires")
class FindsEveryRequirement(MemoryJournal):
    @hookimpl
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        return super().journal_read(query.model_copy(update={"requires": ()}))


@breaks("journal.next-attempt")
class ListsNoReason(MemoryJournal):
    @hookimpl
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        return tuple(entry._replace(waiting_for="") for entry in super().journal_read(query))


@breaks("journal.move")
class MovesWhatWaitsOnly(MemoryJournal):
    @hookimpl
    def journal_move(self, source: str, target: str) -> int:
        kept = [
            entry
            for entry in self._entries.values()
            if entry.state != "waiting" and entry.destination == source
        ]
        count = super().journal_move(source, target)
        for entry in kept:
            entry.destination = source
        return count


@breaks("journal.move-again")
class MovesOnce(MemoryJournal):
    def __init__(self) -> None:
        super().__init__()
        self._moved: set[str] = set()

    @hookimpl
    def journal_move(self, source: str, target: str) -> int:
        if source in self._moved:
            return 0
        count = super().journal_move(source, target)
        if count:
            self._moved.add(source)
        return count


@breaks("journal.move-busy")
class MovesUnderAWorker(MemoryJournal):
    @hookimpl
    def journal_move(self, source: str, target: str) -> int:
        for stream in self._streams.values():
            stream.lease_until = 0.0
        return super().journal_move(source, target)


@breaks("journal.move-fence")
class BeginsWithANewFence(MemoryJournal):
    @hookimpl
    def journal_move(self, source: str, target: str) -> int:
        count = super().journal_move(source, target)
        if count:
            for stream in self._streams.values():
                stream.fence = 0
        return count


@breaks("journal.cut-append")
class AppendsOneByOne(MemoryJournal):
    """Each entry in a transaction of its own."""

    @hookimpl
    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        if self._down and len(entries) > 1:
            self.up()
            super().journal_append(entries[:1], open_content)
            self.down()
        return super().journal_append(entries, open_content)


@breaks("journal.cut-append")
class TakesARepeatForDone(MemoryJournal):
    """Notes the ids before it has stored the entries."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    @hookimpl
    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        new = tuple(each for each in entries if each.operation.op_id not in self._seen)
        self._seen |= {each.operation.op_id for each in entries}
        return super().journal_append(new, open_content)


@breaks("journal.cut-settle")
class MapsBeforeItSettles(MemoryJournal):
    @hookimpl
    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        for settlement in settlements:
            self._map(self._entries[settlement.op_id], settlement.primary_id)
        return super().journal_settle(claim, settlements)


@breaks("journal.cut-settle")
class MapsAfterItSettled(MemoryJournal):
    @hookimpl
    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        mapping = dict(self._mapping)
        try:
            return super().journal_settle(claim, settlements)
        except JournalUnavailableError:
            self._mapping = mapping
            raise


@breaks("journal.cut-claim")
class LosesWhatAWorkerHeld(MemoryJournal):
    """Takes what it hands out off its list."""

    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        try:
            return super().journal_claim(request)
        except JournalUnavailableError:
            self._active.clear()
            raise
