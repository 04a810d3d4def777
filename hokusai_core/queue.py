"""The sync queue, as a person looks at it and decides: list, show, retry, discard, move."""

from collections.abc import Collection, Sequence
from typing import Any

from hokusai_core.dependents import OPEN, Found, dependents, pages
from hokusai_core.destinations import PlannedMove, plan_move
from hokusai_core.errors import (
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
    StillNeededError,
)
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import EntryQuery, EntryState, QueuedOperation
from hokusai_core.operations import Value
from hokusai_core.resolution import select_backends, settings_with, sort_arguments
from hokusai_core.runtime import Runtime
from hokusai_core.settings import Settings
from hokusai_core.status import Place

ALL_STATES: tuple[EntryState, ...] = ("waiting", "delivered", "dead", "discarded", "superseded")
"""Every state that an entry of the queue can be in."""

_PAGE = 1000
_NEEDED_LISTED = 20


class QueueEntry(Value):
    """One operation in the journal or the spool.

    ``age_seconds`` counts from when it was queued. ``next_attempt_seconds`` is when it may be tried
    next, negative where it is due already, None where it does not wait. ``error`` is what the
    primary said last, ``waiting_for`` what holds its stream back; "" where there is none.
    ``maybe_applied`` says that an attempt may have reached the primary.
    """

    op_id: str
    kind: str
    stream: str
    destination: str
    place: Place
    state: EntryState
    attempts: int
    age_seconds: float
    next_attempt_seconds: float | None = None
    maybe_applied: bool = False
    error: str = ""
    waiting_for: str = ""

    @property
    def reason(self) -> str:
        """Why it is where it is, in words; "" where nothing is in the way."""
        if self.error:
            return self.error
        waiting_for = self.waiting_for.removeprefix("id/")
        return f"waiting for {waiting_for}" if waiting_for else ""


class QueueDetails(QueueEntry):
    """One operation with all that is known of it.

    ``payload`` is the operation itself, None where this release does not know its kind.
    ``primary_id`` is what the primary calls its result. ``dependents`` are the operations that
    cannot be delivered without it.
    """

    payload: dict[str, Any] | None = None
    primary_id: str = ""
    dependents: tuple[QueueEntry, ...] = ()


class SyncQueue:
    """What waits for a primary, and what a primary refused, in the journal and in the spool.

    Args:
        settings: All settings; not given, they are read from the environment.
        tracking_uri: Address of the tracking server; not given, settings decide.
        backend: Name of the primary backend, its plugin, or a mock backend; not given, settings
            decide.

    Raises:
        ConfigurationError: An argument or setting is wrong, or there is no fallback.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        tracking_uri: str | None = None,
        backend: object = None,
    ) -> None:
        given = sort_arguments(None, tracking_uri, None, None)
        self._runtime = Runtime.shared(
            select_backends(
                settings=settings_with(settings), tracking_uri=given.tracking_uri, backend=backend
            )
        )
        if self._runtime.fallback is None:
            raise ConfigurationError("There is no fallback (HOKUSAI_FALLBACK=none): nothing waits.")

    @property
    def destination(self) -> str:
        """Identity of the primary that the settings mean."""
        return self._runtime.destination

    def entries(
        self,
        states: Sequence[EntryState] = ("dead",),
        *,
        stream: str = "",
        destination: str = "",
        limit: int = 100,
    ) -> tuple[QueueEntry, ...]:
        """List operations, those of the journal before those of the spool, in their order.

        Args:
            states: Which of them.
            stream: Of this stream only; "" for all.
            destination: For this primary only; "" for all.
            limit: Most that are listed.

        Raises:
            JournalUnavailableError: Journal or spool cannot be reached.
        """
        query = EntryQuery(
            destination=destination,
            streams=(stream,) if stream else (),
            states=tuple(states),
            limit=limit,
        )
        found: list[QueueEntry] = []
        for place, journal in self._places():
            now = journal.journal_backlog(self.destination).now
            found += (_shown(entry, place, now) for entry in journal.journal_read(query))
        return tuple(found[:limit])

    def show(self, op_id: str) -> QueueDetails:
        """Give one operation with its payload, and what depends on it.

        Raises:
            NotFoundError: Neither journal nor spool knows it.
            JournalUnavailableError: Journal or spool cannot be reached.
        """
        places = self._places()
        for place, journal in places:
            for entry in journal.journal_read(EntryQuery(op_ids=(op_id,), states=ALL_STATES)):
                now = journal.journal_backlog(self.destination).now
                payload = entry.operation.model_dump(mode="json") if entry.operation else None
                needing = dependents(
                    [(each, (entry,) if each is journal else ()) for _, each in places]
                )
                return QueueDetails(
                    **_shown(entry, place, now).model_dump(),
                    payload=payload,
                    primary_id=entry.primary_id,
                    dependents=tuple(
                        _shown(each, where, now)
                        for (where, _), (_, found) in zip(places, needing, strict=True)
                        for each in found
                    ),
                )
        raise _unknown((op_id,))

    def retry(self, op_ids: Collection[str]) -> int:
        """Let dead letters wait again, in their old places; returns how many.

        What a later operation of the same stream has set meanwhile is not written over: that part
        of the retried operation is left out, and one of which nothing is left ends as superseded.

        Raises:
            NotFoundError: One of them is unknown.
            InvalidInputError: One of them is no dead letter. Nothing was changed.
            JournalUnavailableError: Journal or spool cannot be reached.
        """
        found = self._found(op_ids, ("dead",), "retried")
        return sum(
            journal.journal_retry(tuple(entry.op_id for entry in entries))
            for journal, entries in found
        )

    def retry_all(self, *, stream: str = "", destination: str = "") -> int:
        """Let all dead letters wait again, of one stream or destination where named."""
        query = EntryQuery(
            destination=destination,
            streams=(stream,) if stream else (),
            states=("dead",),
            limit=_PAGE,
        )
        count = 0
        for _, journal in self._places():
            for page in pages(journal, query):
                count += journal.journal_retry(tuple(entry.op_id for entry in page))
        return count

    def discard(self, op_ids: Collection[str], *, force: bool = False) -> int:
        """Give up operations that are dead or waiting; returns how many.

        One that a worker is sending at this moment may take effect all the same. The payload stays
        in the journal for the retention time.

        Args:
            op_ids: Which.
            force: Discard, too, what cannot be delivered without them.

        Raises:
            NotFoundError: One of them is unknown.
            InvalidInputError: One of them is neither dead nor waiting. Nothing was changed.
            StillNeededError: Others depend on them, and ``force`` is not set. Nothing was changed.
            JournalUnavailableError: Journal or spool cannot be reached.
        """
        found = self._found(op_ids, OPEN, "discarded")
        needing = dependents(found)
        needed = [entry for _, entries in needing for entry in entries]
        if needed and not force:
            listed = ", ".join(
                f"{entry.kind} {entry.op_id} of {entry.stream}" for entry in needed[:_NEEDED_LISTED]
            )
            raise StillNeededError(
                f"{len(needed)} operations cannot be delivered without what should be discarded, "
                f"and nothing was changed. With force=True (--yes) they are discarded, too: {listed}"
                f"{', ...' if len(needed) > _NEEDED_LISTED else '.'}",
                tuple(entry.op_id for entry in needed),
            )
        # What depends on others goes first, so that nothing becomes due in between.
        count = 0
        for journal, entries in (*reversed(needing), *reversed(found)):
            given_up = [entry.op_id for entry in reversed(entries)]
            for start in range(0, len(given_up), _PAGE):
                count += journal.journal_discard(tuple(given_up[start : start + _PAGE]))
        return count

    def move(self, source: str, target: str = "") -> int:
        """Give all that is of one destination to another, because its address changed.

        Args:
            source: The old identity, as ``hokusai status`` shows it, or its address.
            target: The new one; "" for the primary that the settings mean.

        Returns:
            How many entries went, delivered ones included; 0 where nothing is of the source.

        Raises:
            InvalidInputError: There is no source. Nothing was changed.
            JournalBusyError: A worker is delivering one of the streams.
            JournalUnavailableError: Journal or spool cannot be reached.
        """
        planned = self._plan(source, target)
        return sum(
            journal.journal_move(planned.source, planned.target)
            for _, journal in reversed(self._places())
        )

    def planned_move(self, source: str, target: str = "") -> PlannedMove:
        """Say what :meth:`move` would do, and change nothing; refuses what cannot be meant.

        Raises:
            NotFoundError: Nothing is of the source.
            InvalidInputError: Both are the same, or there is no source.
            JournalUnavailableError: Journal or spool cannot be reached.
        """
        planned = self._plan(source, target)
        if planned.source == planned.target:
            raise InvalidInputError(
                f"Old and new destination are the same, {planned.source}. Name two."
            )
        if not planned.source_known:
            waiting = ", ".join(sorted(self.waiting())) or "nothing"
            raise NotFoundError(
                f"Journal and spool hold no entry of {planned.source}: it was moved before, or is "
                f"written in another way. Nothing was changed. What waits is of: {waiting}."
            )
        return planned

    def _plan(self, source: str, target: str) -> PlannedMove:
        journals = [journal for _, journal in self._places()]
        return plan_move(self._runtime.selection, self.destination, journals, source, target)

    def waiting(self) -> dict[str, int]:
        """Count what waits in journal and spool by destination."""
        counts: dict[str, int] = {}
        for _, journal in self._places():
            for name, count in journal.journal_backlog("").by_destination.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def _places(self) -> list[tuple[Place, Journal]]:
        fallback = self._runtime.fallback
        assert fallback is not None
        self._runtime.points.gather()
        places: list[tuple[Place, Journal]] = [("journal", fallback.journal)]
        if fallback.spool:
            places.append(("spool", fallback.spool))
        return places

    def _found(self, op_ids: Collection[str], states: Sequence[EntryState], what: str) -> Found:
        """Give the operations by place; all of them have to be there, in one of the states."""
        if isinstance(op_ids, str):
            raise InvalidInputError(f"op_ids must be a collection of ids, not the text {op_ids!r}.")
        wanted = tuple(dict.fromkeys(op_ids))
        found: Found = []
        known: set[str] = set()
        wrong: dict[str, EntryState] = {}
        for _, journal in self._places() if wanted else ():
            entries: list[QueuedOperation] = []
            for start in range(0, len(wanted), _PAGE):
                part = wanted[start : start + _PAGE]
                entries += journal.journal_read(EntryQuery(op_ids=part, states=ALL_STATES))
            chosen = tuple(entry for entry in entries if entry.state in states)
            known.update(entry.op_id for entry in entries)
            wrong.update({e.op_id: e.state for e in entries if e.state not in states})
            found.append((journal, chosen))
        right = {entry.op_id for _, entries in found for entry in entries}
        if missing := [op_id for op_id in wanted if op_id not in known]:
            raise _unknown(missing)
        if misfits := [f"{op_id} is {wrong[op_id]}" for op_id in wanted if op_id not in right]:
            raise InvalidInputError(
                f"Only what is {' or '.join(states)} can be {what}, and {', '.join(misfits)}. "
                "Nothing was changed."
            )
        return found


def _shown(entry: QueuedOperation, place: Place, now: float) -> QueueEntry:
    due = entry.next_attempt_at
    return QueueEntry(
        op_id=entry.op_id,
        kind=entry.kind,
        stream=entry.stream,
        destination=entry.destination,
        place=place,
        state=entry.state,
        attempts=entry.attempts,
        age_seconds=round(max(0.0, now - entry.appended_at), 1),
        next_attempt_seconds=None if due is None else round(due - now, 1),
        maybe_applied=entry.maybe_applied,
        error=entry.error,
        waiting_for=entry.waiting_for,
    )


def _unknown(op_ids: Sequence[str]) -> NotFoundError:
    return NotFoundError(
        f"The journal knows no operation {', '.join(op_ids)}. `hokusai queue list --all` shows those "
        "that it knows; delivered ones are deleted after HOKUSAI_RETENTION_SECONDS."
    )
