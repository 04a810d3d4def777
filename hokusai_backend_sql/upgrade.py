"""Creates the tables, and upgrades those of an older release.

A new database gets the tables of this release at once; alembic is needed (and imported) only to
upgrade an older one. A SQLite file upgrades itself, under a file lock. PostgreSQL is shared: an
older schema is upgraded only by ``hokusai db upgrade``.
"""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_mock_engine, inspect, text
from sqlalchemy.schema import CreateSchema, ExecutableDDLElement

from hokusai_backend_sql.schema import SCHEMA_NAME, SCHEMA_REVISION
from hokusai_backend_sql.sqlite_file import WRITES, use_write_ahead_log
from hokusai_backend_sql.tables import metadata
from hokusai_backend_sql.time_limits import without_time_limit

if TYPE_CHECKING:
    import psycopg

VERSION_TABLES = {"postgresql": "alembic_version", "sqlite": "hokusai_alembic_version"}
"""Where alembic keeps the revision: in our schema, or beside other software's in one file."""

_ADVISORY_LOCK = 0x686F6B75736169  # the bytes of "hokusai"

_ALEMBIC = threading.Lock()
"""Alembic's migration context is one for the whole process."""


def ensure_schema(engine: Engine, timeout: float) -> str:
    """Create the tables where there are none; bring an older SQLite file up to date.

    Args:
        engine: The database.
        timeout: Seconds to wait for another process that does the same.

    Returns:
        "" where the tables are those of this release, else what is in the way, and what to do.

    """
    with engine.execution_options(**{WRITES: False}).connect() as connection:
        obstacle = encoding_obstacle(connection)
        if obstacle:
            return obstacle
        revision = schema_revision(connection)
    is_sqlite = engine.dialect.name == "sqlite"
    if revision == "" or (is_sqlite and revision in _known_older()):
        revision = upgrade_schema(engine, timeout, only_empty=not is_sqlite)
    return revision_obstacle(revision)


def revision_obstacle(revision: str) -> str:
    """Say that tables are those of another release, and what to do; "" where they are this one's."""
    if revision == SCHEMA_REVISION:
        return ""
    if revision in _known_older():
        return (
            f"has the tables of an older release (revision {revision}; this one needs "
            f"{SCHEMA_REVISION}). Run: hokusai db upgrade"
        )
    return (
        f"has the tables of a newer release (revision {revision}; this one knows "
        f"{SCHEMA_REVISION}). Upgrade hokusai-tracking on this machine."
    )


def encoding_obstacle(connection: Connection) -> str:
    """Say that a PostgreSQL database cannot hold every text, and what to do; "" where it can."""
    if connection.dialect.name != "postgresql":
        return ""
    driver = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
    encoding = driver.info.parameter_status("server_encoding")
    if encoding in (None, "UTF8"):
        return ""
    return (
        f"has the encoding {encoding}, which cannot hold every text. Make a database with "
        "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and set HOKUSAI_DATABASE_URL to it."
    )


def upgrade_schema(engine: Engine, timeout: float, *, only_empty: bool = False) -> str:
    """Bring the tables up to this release, one process at a time.

    Args:
        engine: The database.
        timeout: Seconds to wait for another process that does the same.
        only_empty: Leave tables of an older release as they are.

    Returns:
        The revision of the tables now.

    """
    with _one_at_a_time(engine, timeout), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        revision = schema_revision(connection)
        if revision == "":
            _create(connection)
        elif not only_empty and revision in _known_older():
            _migrate(connection)
        return schema_revision(connection)


def schema_revision(connection: Connection) -> str:
    """Give the revision of the tables, "" where there are none."""
    schema = _schema(connection)
    name = VERSION_TABLES[connection.dialect.name]
    if not inspect(connection).has_table(name, schema=schema):
        return ""
    qualified = f"{schema}.{name}" if schema else name
    return connection.scalar(text(f"SELECT version_num FROM {qualified}")) or ""


def _create(connection: Connection) -> None:
    schema = _schema(connection)
    if schema and not inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema))
    if schema:
        metadata.create_all(connection, checkfirst=False)
    else:
        for statement in _sqlite_definitions():
            connection.exec_driver_sql(statement)
    name = VERSION_TABLES[connection.dialect.name]
    qualified = f"{schema}.{name}" if schema else name
    connection.execute(
        text(
            f"CREATE TABLE {qualified} (version_num VARCHAR(32) NOT NULL, "
            f"CONSTRAINT {name}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(
        text(f"INSERT INTO {qualified} (version_num) VALUES (:revision)"),
        {"revision": SCHEMA_REVISION},
    )


@cache
def _sqlite_definitions() -> tuple[str, ...]:
    """Give the statements that make all tables and indexes, with which each new file begins.

    Writing them takes longer than running them.
    """
    texts: list[str] = []

    def write(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        texts.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine("sqlite://", write)
    metadata.create_all(engine, checkfirst=False)
    return tuple(texts)


def _migrate(connection: Connection) -> None:
    from alembic import command

    from hokusai_backend_sql.migrations.configuration import configuration

    with _ALEMBIC, without_time_limit(connection):
        command.upgrade(configuration(connection), "head")


def _known_older() -> frozenset[str]:
    """Give the revisions before this release's: they are counted up."""
    return frozenset(f"{number:04d}" for number in range(1, int(SCHEMA_REVISION)))


def _schema(connection: Connection) -> str | None:
    return SCHEMA_NAME if connection.dialect.name == "postgresql" else None


@contextmanager
def _one_at_a_time(engine: Engine, timeout: float) -> Iterator[None]:
    """Hold the lock file beside a SQLite database; PostgreSQL has a lock of its own."""
    if engine.dialect.name != "sqlite":
        yield
        return
    path = Path(f"{engine.url.database}.lock")
    try:
        with FileLock(path, timeout=timeout, mode=0o600):
            use_write_ahead_log(engine)
            yield
    except Timeout as cause:
        # An OSError, which the caller turns into its own error.
        raise TimeoutError(
            errno.ETIMEDOUT, "another process has been upgrading the database for too long"
        ) from cause
