"""The journal's hooks over one database; each is one transaction, and none stays open after it."""

import time
from typing import BinaryIO, cast

from sqlalchemy import select

from hokusai_backend_sql import (
    claims,
    dead_letters,
    id_mapping,
    intake,
    listings,
    moving,
    postgresql_intake,
    retention,
    settling,
)
from hokusai_backend_sql.content import Staged, digest_of, open_content
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.entries import append, note
from hokusai_backend_sql.errors import SIGNAL_HANDLER
from hokusai_backend_sql.journal_schema import operations
from hokusai_backend_sql.staging import stage_content
from hokusai_backend_sql.turns import Turns
from hokusai_core.errors import JournalUnavailableError, NotFoundError
from hokusai_core.hookspecs import OpenContent
from hokusai_core.journal import (
    Backlog,
    Claim,
    ClaimRequest,
    Entry,
    EntryQuery,
    QueuedOperation,
    Release,
    Settlement,
)
from hokusai_core.markers import hookimpl
from hokusai_core.operations import AnyOperation


class SqlJournal:
    """The sync queue in PostgreSQL or SQLite; see :class:`hokusai_core.hookspecs.Journal`.

    Its clock is the PostgreSQL server's, or with SQLite that of this machine.

    Args:
        database: Where the queue is.

    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._emptying = Turns()

    @hookimpl
    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        """Store the entries in one transaction."""
        if not entries:
            return 0
        if len(entries) == 1 and entries[0].plain and self._append_one(entries[0]):
            return 1
        self._empty_intake()
        digest = None
        staged: Staged = ()
        if open_content is not None:
            digest = digest_of(open_content)
            staged = stage_content(self._database, open_content, digest)
        with self._database.begin() as connection:
            return append(connection, entries, open_content, digest, staged=staged)

    def _append_one(self, entry: Entry) -> bool:
        """Store a new entry by one statement; False where it is too large for that."""
        row = intake.row(entry)
        if row is None:
            return False
        if self._database.is_sqlite:
            self._database.run_alone(intake.ADD, (*row, time.time()))
        else:
            self._database.run_committed(postgresql_intake.ADD, row)
        return True

    @hookimpl
    def journal_note(self, operation: AnyOperation, destination: str, primary_id: str) -> bool:
        """Remember what the primary has already."""
        with self._database.begin(synced=True) as connection:
            return note(connection, operation, destination, primary_id)

    @hookimpl
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        """Claim the stream that is due first."""
        self._empty_intake()
        return claims.claim(self._database, request)

    @hookimpl
    def journal_renew(self, claim: Claim) -> bool:
        """Begin the lease anew."""
        with self._database.begin(synced=True) as connection:
            settling.renew(connection, claim)
        return True

    @hookimpl
    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        """Record outcomes and mappings."""
        with self._database.begin(synced=True) as connection:
            return settling.settle(connection, claim, settlements)

    @hookimpl
    def journal_release(self, claim: Claim, release: Release) -> bool:
        """End the claim."""
        with self._database.begin(synced=True) as connection:
            settling.release(connection, claim, release)
        return True

    @hookimpl
    def journal_unsettled(self, streams: tuple[str, ...]) -> int:
        """Count what waits in these streams."""
        if not streams:
            return 0
        self._empty_intake()
        with self._database.connect() as connection:
            return listings.unsettled(connection, streams)

    @hookimpl
    def journal_resolve(self, provisional_ids: tuple[str, ...]) -> dict[str, str]:
        """Give primary ids for provisional ones."""
        if not provisional_ids:
            return {}
        with self._database.connect() as connection:
            return id_mapping.resolve(connection, provisional_ids)

    @hookimpl
    def journal_aliases(self, primary_ids: tuple[str, ...]) -> dict[str, str]:
        """Give provisional ids for primary ones."""
        if not primary_ids:
            return {}
        with self._database.connect() as connection:
            return id_mapping.aliases(connection, primary_ids)

    @hookimpl
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        """Read entries in the order of their sequence."""
        self._empty_intake()
        with self._database.connect() as connection:
            return listings.read(connection, query)

    @hookimpl
    def journal_open_content(self, op_id: str) -> BinaryIO:
        """Open the stored bytes of an artifact that is not delivered."""
        with self._database.connect() as connection:
            sha256 = connection.scalar(
                select(operations.c.content_sha256).where(operations.c.op_id == op_id)
            )
        if sha256 is None:
            raise NotFoundError(
                f"The journal holds no content for operation {op_id}: it is unknown, no artifact, "
                "or delivered."
            )
        return open_content(self._database, sha256)

    @hookimpl
    def journal_backlog(self, destination: str) -> Backlog:
        """Give the figures."""
        self._empty_intake()
        with self._database.connect() as connection:
            return listings.backlog(connection, destination)

    @hookimpl
    def journal_retry(self, op_ids: tuple[str, ...]) -> int:
        """Let dead letters wait again."""
        with self._database.begin(synced=True) as connection:
            return dead_letters.retry(connection, op_ids)

    @hookimpl
    def journal_discard(self, op_ids: tuple[str, ...]) -> int:
        """Discard dead or waiting operations."""
        self._empty_intake()
        with self._database.begin(synced=True) as connection:
            return dead_letters.discard(connection, op_ids)

    @hookimpl
    def journal_prune(self, retention_seconds: float) -> int:
        """Delete some settled tracking entries older than this."""
        return retention.prune(self._database, retention_seconds)

    @hookimpl
    def journal_move(self, source: str, target: str) -> int:
        """Give all of one destination to another."""
        self._empty_intake()
        with self._database.begin(synced=True) as connection:
            return moving.move(connection, source, target)

    @hookimpl
    def journal_upgrade(self) -> str:
        """Bring the tables up to this release."""
        return self._database.upgrade()

    @hookimpl
    def journal_reset_after_fork(self) -> bool:
        """Forget the parent's connections and locks."""
        self._emptying = Turns()
        return self._database.reset_after_fork()

    @hookimpl
    def journal_close(self) -> bool:
        """Close all connections."""
        return self._database.close()

    def _empty_intake(self) -> None:
        """Let the table of operations have all entries that are there now, in order.

        Those that come meanwhile are left: a fast writer would otherwise keep a reader here.
        """
        ways = intake if self._database.is_sqlite else postgresql_intake
        last = self._intake_number(ways.LAST)
        if not last:
            return
        if self._emptying.is_own:
            raise JournalUnavailableError(f"The journal cannot be asked: {SIGNAL_HANDLER}.")
        # One thread moves: SQLite lets those that wait for its lock starve.
        with self._emptying.turn():
            while 0 < self._intake_number(ways.FIRST) <= last:
                with self._database.begin() as connection:
                    ways.move_some(connection)

    def _intake_number(self, statement: str) -> int:
        """Give the first or last number in the intake; 0 where it is empty."""
        run = self._database.run_alone if self._database.is_sqlite else self._database.run_committed
        return cast("int | None", run(statement)) or 0
