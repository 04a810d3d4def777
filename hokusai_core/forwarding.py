"""Moves what is in the spool into the shared journal, in order and once."""

from hokusai_core.hookspecs import Journal
from hokusai_core.identifiers import creation_of
from hokusai_core.journal import (
    ClaimRequest,
    Entry,
    EntryQuery,
    QueuedOperation,
    Release,
    Settlement,
)
from hokusai_core.operations import AnyOperation, LogArtifact, RunOperation
from hokusai_core.settings import Settings

_PAGE = 500


class Forwarder:
    """Appends what waits in the spool to the journal, which knows each operation by ``op_id``.

    Operations go in the order in which they came to the spool, whatever their streams, because an
    operation may wait for one of another stream that came before it. Several forwarders at once
    harm nothing: an operation is always appended after all that came before it.

    While the journal was away, nobody could tell which two ids are one run's. So what is there under a
    primary's id is forwarded under the provisional one, in the one stream that keeps its order.

    Args:
        spool: Where operations are.
        journal: Where they go.
        destination: Whose operations are forwarded.
        settings: Budgets.
        name: Names the worker in listings.
    """

    def __init__(
        self, spool: Journal, journal: Journal, destination: str, settings: Settings, name: str
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._destination = destination
        self._settings = settings
        self._name = name

    def forward(self) -> int:
        """Forward everything that waits; returns how many operations went.

        Raises:
            JournalUnavailableError: Spool or journal cannot be reached; the rest stays.
        """
        count = after = 0
        while entries := self._spool.journal_read(
            EntryQuery(destination=self._destination, after=after, limit=_PAGE)
        ):
            forwarded = {entry.op_id for entry in entries if self._forward(entry)}
            self._settle(forwarded)
            count += len(forwarded)
            after = entries[-1].sequence
        return count

    def _forward(self, entry: QueuedOperation) -> bool:
        """Append one entry to the journal; False for one that this release does not know."""
        if entry.operation is None:
            return False
        operation = self._under_one_id(entry.operation)
        waits = entry.maybe_applied and operation.late_effects_matter
        forwarded = Entry(
            operation=operation,
            destination=entry.destination,
            maybe_applied=entry.maybe_applied,
            not_before=self._settings.late_effect_seconds if waits else 0.0,
            error=entry.error,
        )
        if isinstance(operation, LogArtifact):
            self._journal.journal_append(
                (forwarded,), lambda: self._spool.journal_open_content(entry.op_id)
            )
        else:
            self._journal.journal_append((forwarded,), None)
        return True

    def _under_one_id(self, operation: AnyOperation) -> AnyOperation:
        if not isinstance(operation, RunOperation) or creation_of(operation.run_id) is not None:
            return operation
        known = self._journal.journal_aliases((operation.run_id,))
        return operation.renamed(known) if known else operation

    def _settle(self, forwarded: set[str]) -> None:
        """Settle in the spool what the journal has now."""
        request = ClaimRequest(
            destination=self._destination,
            worker=self._name,
            lease_seconds=self._settings.lease_seconds,
            late_effect_seconds=0.0,
            ignore_waits=True,
        )
        passed: set[str] = set()
        while claims := self._spool.journal_claim(request):
            claim = claims[0]
            known = [entry.op_id for entry in claim.operations if entry.op_id in forwarded]
            self._spool.journal_settle(
                claim,
                tuple(Settlement(op_id=op_id, outcome="delivered") for op_id in known),
            )
            rest = [entry.op_id for entry in claim.operations if entry.op_id not in forwarded]
            self._spool.journal_release(claim, Release(untouched=tuple(rest)))
            if not known and claim.stream in passed:
                return
            passed.add(claim.stream)
