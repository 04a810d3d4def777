"""Moves what is in the spool into the shared journal, in order and once."""

from hokusai_core.clock import Clock
from hokusai_core.errors import JournalUnavailableError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Claim, ClaimRequest, Entry, QueuedOperation, Release, Settlement
from hokusai_core.operations import LogArtifact
from hokusai_core.settings import Settings


class Forwarder:
    """Claims streams of the spool and appends them to the journal, which knows each by ``op_id``.

    Args:
        spool: Where operations are.
        journal: Where they go.
        destination: Whose operations are forwarded.
        settings: Budgets.
        name: Names the worker in listings.
        clock: Time.
    """

    def __init__(
        self,
        spool: Journal,
        journal: Journal,
        destination: str,
        settings: Settings,
        name: str,
        clock: Clock,
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._destination = destination
        self._settings = settings
        self._name = name
        self._clock = clock

    def forward(self) -> int:
        """Forward everything that is due; returns how many operations went.

        Raises:
            JournalUnavailableError: Spool or journal cannot be reached; the rest stays.
        """
        count = 0
        while claims := self._spool.journal_claim(
            ClaimRequest(
                destination=self._destination,
                worker=self._name,
                lease_seconds=self._settings.lease_seconds,
                late_effect_seconds=0.0,
                limit=200,
                ignore_waits=True,
            )
        ):
            count += self._forward_stream(claims[0])
        return count

    def _forward_stream(self, claim: Claim) -> int:
        try:
            for entry in claim.operations:
                self._forward_entry(entry)
        except JournalUnavailableError as failure:
            self._spool.journal_release(claim, Release(retry_in=1.0, error=str(failure)))
            raise
        self._spool.journal_settle(
            claim,
            tuple(Settlement(op_id=entry.op_id, outcome="delivered") for entry in claim.operations),
        )
        self._spool.journal_release(claim, Release())
        return len(claim.operations)

    def _forward_entry(self, entry: QueuedOperation) -> None:
        operation = entry.operation
        if operation is None:
            return
        waits = entry.maybe_applied and type(operation).searchable
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
