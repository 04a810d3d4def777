"""Where operations are kept while the primary is away: the journal, and behind it the spool."""

import logging
from collections.abc import Callable, Iterable
from typing import BinaryIO, TypeVar

from hokusai_core.backends import OpenBackend
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.errors import (
    JournalUnavailableError,
    NotFoundError,
    NotStoredError,
    TransientError,
)
from hokusai_core.hookspecs import Journal, OpenContent
from hokusai_core.journal import Backlog, Entry, EntryQuery, QueuedOperation
from hokusai_core.lazy import Lazy
from hokusai_core.operations import AnyOperation, LogArtifact

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LAST_RESORT_ATTEMPTS = 3
"""Attempts of an append where no spool is behind the journal; each waits as long as the journal may."""

_FAILED = {1: "the {} failed", 2: "{} and {} failed", 3: "{}, {} and {} all failed"}
"""By the number of places that were tried."""


class FallbackStore:
    """The journal and the spool as one place.

    Both are opened with the first use. A journal that cannot be reached has a circuit of its own,
    so that it is not waited for call by call; what it cannot take goes to the spool, and so does all
    that comes later, until that is forwarded.

    Args:
        journal: Opens the journal.
        spool: Opens the spool; None where the journal is a local file itself.
        breaker: The journal's circuit.
        max_artifact_bytes: Largest artifact that may wait.
        on_open: Called once, when the journal answered for the first time.
        before_reading: Called before what waits is read or counted: lets what is still in memory be
            appended.
    """

    def __init__(
        self,
        journal: Callable[[], OpenBackend],
        spool: Callable[[], OpenBackend] | None,
        breaker: CircuitBreaker,
        max_artifact_bytes: int,
        on_open: Callable[[], None] = lambda: None,
        before_reading: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = Lazy(journal, JournalUnavailableError)
        self._spool = Lazy(spool, JournalUnavailableError) if spool else None
        self._breaker = breaker
        self._max_artifact_bytes = max_artifact_bytes
        self._on_open = on_open
        self._append_earlier = before_reading
        self._answered = False
        self._last_spooled: object | None = None
        """Another object after each write to the spool; None while this process knows of none."""
        self._empty_since: dict[str, object | None] = {}
        """By destination: ``_last_spooled`` as it was before the spool was found to hold nothing."""

    @property
    def journal(self) -> Journal:
        """The journal, opened."""
        return self._journal.get().journal

    @property
    def spool(self) -> Journal | None:
        """The spool, opened, if this process or an earlier one may have used it."""
        return self._spool.get().journal if self._spool else None

    def append(
        self, entry: Entry, open_content: OpenContent | None, cause: BaseException | None
    ) -> str:
        """Keep an operation; durable when the call returns.

        Args:
            entry: What to keep.
            open_content: The bytes of an artifact.
            cause: Why the primary did not take it; None where it is not asked at all.

        Returns:
            ``journal`` or ``spool``: where it is now.

        Raises:
            NotStoredError: Neither took it; ``causes`` says why, the primary's reason first.
        """
        if open_content is not None:
            self._refuse_large(entry.operation, cause)
        failures: list[BaseException] = [cause] if cause else []
        try:
            spool = self.spool
        except JournalUnavailableError as failure:
            raise self._kept_nowhere(entry, cause, [*failures, failure]) from failure
        if not (spool and self._stays_on_spool(spool, entry.destination)):
            try:
                self._append_to_journal(entry, open_content, last_resort=spool is None)
                return "journal"
            except JournalUnavailableError as failure:
                failures.append(failure)
        if spool:
            maybe_there = True
            try:
                spool.journal_append((entry,), open_content)
                return "spool"
            except JournalUnavailableError as failure:
                maybe_there = failure.maybe_applied
                failures.append(failure)
            finally:
                if maybe_there:
                    self._last_spooled = object()
        raise self._kept_nowhere(entry, cause, failures) from failures[-1]

    def note(self, operation: AnyOperation, destination: str, primary_id: str) -> None:
        """Remember what the primary has, for look-ups in an outage; a failure is only logged."""
        try:
            self._ask_journal(
                lambda journal: journal.journal_note(operation, destination, primary_id)
            )
        except JournalUnavailableError as failure:
            logger.debug("A %s was not noted in the journal: %s", operation.kind, failure)

    def discard(self, op_ids: tuple[str, ...]) -> int:
        """Give up operations that wait; returns how many waited still, 0 where nobody can tell."""
        try:
            count = self._ask_journal(lambda journal: journal.journal_discard(op_ids))
            return count or (self.spool.journal_discard(op_ids) if self.spool else 0)
        except JournalUnavailableError as failure:
            logger.debug("The journal did not discard %s: %s", op_ids, failure)
            return 0

    def unsettled(self, streams: tuple[str, ...]) -> int:
        """Count what waits in these streams.

        Raises:
            JournalUnavailableError: Where the journal or the spool cannot tell.
        """
        self._before_reading()
        count = self._ask_journal(lambda journal: journal.journal_unsettled(streams))
        spool = self.spool
        return count + (spool.journal_unsettled(streams) if spool else 0)

    def resolve(self, provisional_ids: tuple[str, ...]) -> dict[str, str]:
        """Give the primary ids that are known; {} where the journal cannot be reached."""
        try:
            return self._ask_journal(lambda journal: journal.journal_resolve(provisional_ids))
        except JournalUnavailableError:
            return {}

    def aliases(self, primary_ids: tuple[str, ...]) -> dict[str, str]:
        """Give the provisional ids of things with these primary ids.

        Raises:
            JournalUnavailableError: Where the journal cannot tell.
        """
        # A local file is asked in any case: what is not known now would go into a stream of its own.
        return self._ask_journal(
            lambda journal: journal.journal_aliases(primary_ids), always=self._spool is None
        )

    def read(self, query: EntryQuery, *, whole: bool = False) -> tuple[QueuedOperation, ...]:
        """Read entries, the journal's before the spool's; each ``op_id`` once.

        What cannot be reached is left out: a read in an outage gives what there is.

        Args:
            query: Which entries.
            whole: Leave out nothing, and ask a journal that failed a moment ago all the same: for
                who must not take what cannot be read for what is not there.

        Raises:
            JournalUnavailableError: With ``whole``, journal or spool cannot be reached.
        """
        self._before_reading()
        found: dict[str, QueuedOperation] = {}
        try:
            entries = self._ask_journal(lambda journal: journal.journal_read(query), always=whole)
            found.update({entry.op_id: entry for entry in entries})
        except JournalUnavailableError as failure:
            if whole:
                raise
            logger.debug("The journal was left out of a read: %s", failure)
        spool = self.spool
        if spool:
            try:
                for entry in spool.journal_read(query):
                    found.setdefault(entry.op_id, entry)
            except JournalUnavailableError as failure:
                if whole:
                    raise
                logger.debug("The spool was left out of a read: %s", failure)
        return tuple(found.values())

    def open_content(self, op_id: str) -> BinaryIO:
        """Open the bytes of a waiting artifact.

        Raises:
            NotFoundError: Where neither journal nor spool has them.
        """
        for journal in self._places():
            try:
                return journal.journal_open_content(op_id)
            except (NotFoundError, JournalUnavailableError):
                continue
        raise NotFoundError(f"The bytes of artifact operation {op_id} are not in the journal.")

    def backlog(self, destination: str) -> tuple[Backlog | None, Backlog | None]:
        """Give the figures of journal and spool; None where one cannot be reached or is not there."""
        self._before_reading()
        figures: list[Backlog | None] = []
        try:
            figures.append(self._ask_journal(lambda journal: journal.journal_backlog(destination)))
        except JournalUnavailableError:
            figures.append(None)
        spool = self.spool
        try:
            figures.append(spool.journal_backlog(destination) if spool else None)
        except JournalUnavailableError:
            figures.append(None)
        return figures[0], figures[1]

    def close(self) -> None:
        """Close what is open."""
        for place in (self._journal, self._spool):
            if place and (backend := place.opened()):
                backend.close()

    def reset_after_fork(self) -> None:
        """In a forked child: forget the parent's connections and locks."""
        self._breaker.reset_after_fork()
        for place in (self._journal, self._spool):
            if place:
                place.reset_after_fork()
                if backend := place.opened():
                    backend.journal.journal_reset_after_fork()

    def _kept_nowhere(
        self, entry: Entry, cause: BaseException | None, failures: list[BaseException]
    ) -> NotStoredError:
        places = [
            *(["primary"] if cause else []),
            "journal",
            *(["spool"] if self._spool else []),
        ]
        reasons = " ".join(f"({number}) {reason}" for number, reason in enumerate(failures, 1))
        if isinstance(cause, TransientError) and cause.maybe_applied:
            reasons += " It was sent, and may still take effect."
        return NotStoredError(
            f"A {entry.kind} operation is kept nowhere: {_FAILED[len(places)].format(*places)}. "
            f"{reasons} Mend what `hokusai status` names, and call again.",
            tuple(failures),
        )

    def _refuse_large(self, operation: AnyOperation, cause: BaseException | None) -> None:
        if isinstance(operation, LogArtifact) and operation.size > self._max_artifact_bytes:
            raise NotStoredError(
                f"Artifact {operation.path!r} has {operation.size} bytes; while the primary is away "
                f"at most {self._max_artifact_bytes} may wait in the journal "
                "(HOKUSAI_MAX_QUEUED_ARTIFACT_BYTES). Log it again when the primary is back.",
                (cause,) if cause else (),
            )

    def _places(self) -> Iterable[Journal]:
        yield self.journal
        if spool := self.spool:
            yield spool

    def _stays_on_spool(self, spool: Journal, destination: str) -> bool:
        """Whether something that this process, or one before it, put on the spool is still there.

        Until it is forwarded all of its destination goes there, so that nothing comes to the journal
        before what it waits for. That there is nothing holds as long as the last write to the spool is
        the one before the question.
        """
        # No lock, because a signal handler may log at any point of this.
        last = self._last_spooled
        if self._empty_since.get(destination, self) is last:
            return False
        try:
            if spool.journal_read(EntryQuery(destination=destination, limit=1)):
                if last is None:
                    self._last_spooled = object()
                return True
        except JournalUnavailableError:
            return last is not None
        self._empty_since[destination] = last
        return False

    def _before_reading(self) -> None:
        """Let what waits in memory or in files be appended."""
        try:
            self._append_earlier()
        except NotStoredError as failure:
            raise JournalUnavailableError(str(failure)) from failure

    def _append_to_journal(
        self, entry: Entry, open_content: OpenContent | None, *, last_resort: bool
    ) -> None:
        """Append; again where it surely was not stored, and nothing is behind the journal.

        A local file with many writers is busy at times.
        """
        for attempt in range(1, _LAST_RESORT_ATTEMPTS + 1):
            try:
                self._ask_journal(
                    lambda journal: journal.journal_append((entry,), open_content),
                    always=last_resort,
                )
                return
            except JournalUnavailableError as failure:
                if failure.maybe_applied or not last_resort or attempt == _LAST_RESORT_ATTEMPTS:
                    raise

    def _ask_journal(self, question: Callable[[Journal], T], *, always: bool = False) -> T:
        """Ask the journal, unless its circuit is open; ``always`` asks it all the same."""
        permit = self._breaker.admit(insist=always)
        if permit is None:
            raise JournalUnavailableError(
                "The journal failed a moment ago, so it was not asked again yet. Try again in some "
                "seconds; `hokusai doctor` says what is wrong."
            )
        try:
            answer = question(self.journal)
        except JournalUnavailableError:
            self._breaker.failed(permit)
            raise
        except BaseException:
            self._breaker.abandoned(permit)
            raise
        self._breaker.succeeded(permit)
        if not self._answered:
            self._answered = True
            self._on_open()
        return answer
