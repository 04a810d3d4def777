"""The tables are those that the migrations make, and are created and upgraded safely."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.schema import CreateSchema

from hokusai_backend_sql import upgrade
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import QUEUE_STORAGE
from hokusai_backend_sql.migrations.configuration import configuration
from hokusai_backend_sql.schema import SCHEMA_NAME, SCHEMA_REVISION
from hokusai_backend_sql.tables import metadata
from hokusai_core.errors import JournalUnavailableError
from hokusai_core.journal import EntryQuery
from hokusai_core.settings import Settings
from tests.support.postgres import PostgresServer
from tests.support.sql_fixtures import OpenSql


@pytest.fixture
def empty(empty_database_url: str, tmp_path: Path) -> Iterator[Database]:
    database = Database(empty_database_url, Settings.load(data_dir=tmp_path))
    if database.is_sqlite:
        Path(database.place).parent.mkdir()
    yield database
    database.close()


def differences(connection: Connection) -> list[object]:
    on_postgresql = connection.dialect.name == "postgresql"
    schema = SCHEMA_NAME if on_postgresql else None
    expected = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(expected, schema=schema)
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": upgrade.VERSION_TABLES[connection.dialect.name],
            "version_table_schema": schema,
            "include_schemas": on_postgresql,
            "compare_type": True,
            "compare_server_default": True,
        },
    )
    return list(compare_metadata(context, expected))


def storage_settings(connection: Connection) -> dict[str, str]:
    if connection.dialect.name != "postgresql":
        return {}
    rows = connection.execute(
        text(
            "SELECT relname, array_to_string(reloptions, ', ') AS options FROM pg_class "
            "WHERE reloptions IS NOT NULL AND relnamespace = 'hokusai'::regnamespace"
        )
    )
    return {row.relname: row.options for row in rows}


def expected_storage(database: Database) -> dict[str, str]:
    tables = ("operations", "streams", "operation_keys", "operation_waits", "intake")
    options = QUEUE_STORAGE.replace(" = ", "=")
    return {} if database.is_sqlite else dict.fromkeys(tables, options)


def migrate(database: Database) -> None:
    with database._engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(CreateSchema(SCHEMA_NAME))
        command.upgrade(configuration(connection), "head")


def test_the_migrations_make_the_tables_of_this_release(empty: Database) -> None:
    migrate(empty)
    with empty.connect() as connection:
        assert differences(connection) == []
        assert upgrade.schema_revision(connection) == SCHEMA_REVISION
        assert storage_settings(connection) == expected_storage(empty)


def test_a_new_database_has_the_tables_of_this_release(empty: Database) -> None:
    assert empty.upgrade() == SCHEMA_REVISION
    with empty.connect() as connection:
        assert differences(connection) == []
        assert storage_settings(connection) == expected_storage(empty)


def test_the_revision_is_the_newest_migration(empty: Database) -> None:
    with empty._engine.connect() as connection:
        script = ScriptDirectory.from_config(configuration(connection))
    assert script.get_current_head() == SCHEMA_REVISION


def test_first_use_creates_the_tables(open_sql: OpenSql, empty_database_url: str) -> None:
    journal = open_sql(empty_database_url).journal
    assert journal.journal_read(EntryQuery()) == ()
    assert journal.journal_upgrade() == SCHEMA_REVISION


def set_revision(database: Database, revision: str) -> None:
    table = upgrade.VERSION_TABLES["sqlite" if database.is_sqlite else "postgresql"]
    name = table if database.is_sqlite else f"{SCHEMA_NAME}.{table}"
    with database.begin() as connection:
        connection.execute(text(f"UPDATE {name} SET version_num = :it"), {"it": revision})


def test_tables_of_a_newer_release_are_left_alone(
    open_sql: OpenSql, database_url: str, database: Database
) -> None:
    set_revision(database, "9999")
    try:
        journal = open_sql(database_url).journal
        for ask in (lambda: journal.journal_read(EntryQuery()), journal.journal_upgrade) * 2:
            with pytest.raises(JournalUnavailableError, match="newer release"):
                ask()
    finally:
        set_revision(database, SCHEMA_REVISION)


def test_only_the_command_upgrades_a_shared_database(
    open_sql: OpenSql, empty: Database, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty)
    # As if this release had one more migration than the database, and that one were empty.
    set_revision(empty, "0000")
    monkeypatch.setattr(upgrade, "_known_older", lambda: frozenset({"0000"}))
    monkeypatch.setattr(upgrade, "_migrate", _mark_upgraded)
    journal = open_sql(empty_database_url).journal
    if not empty.is_sqlite:
        with pytest.raises(JournalUnavailableError, match="hokusai db upgrade"):
            journal.journal_read(EntryQuery())
        assert journal.journal_upgrade() == SCHEMA_REVISION
    assert journal.journal_read(EntryQuery()) == ()


def _mark_upgraded(connection: Connection) -> None:
    on_sqlite = connection.dialect.name == "sqlite"
    table = upgrade.VERSION_TABLES[connection.dialect.name]
    name = table if on_sqlite else f"{SCHEMA_NAME}.{table}"
    connection.execute(text(f"UPDATE {name} SET version_num = '{SCHEMA_REVISION}'"))


def test_everything_is_in_a_schema_of_its_own(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    database = Database(postgres_url, Settings.load(data_dir=tmp_path))
    with database.connect() as connection:
        assert inspect(connection).get_table_names(schema="public") == []
        assert set(metadata.tables) < set(inspect(connection).get_table_names(schema="hokusai"))
    database.close()


def test_a_role_without_the_right_to_create_can_use_what_is_there(
    postgres_url: str, postgres_server: PostgresServer, open_sql: OpenSql, tmp_path: Path
) -> None:
    role = "hokusai_test_plain"
    owner = Database(postgres_url, Settings.load(data_dir=tmp_path))
    with owner.begin() as connection:
        connection.execute(text(f"DROP ROLE IF EXISTS {role}"))
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA hokusai TO {role}"))
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA hokusai TO {role}"))
        connection.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA hokusai TO {role}"))
    try:
        plain = owner.url.set(username=role, password="secret")
        journal = open_sql(plain.render_as_string(hide_password=False)).journal
        assert journal.journal_read(EntryQuery()) == ()
        journal.journal_close()
    finally:
        with owner.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
        owner.close()


@pytest.fixture
def latin_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that cannot hold most of the world's characters."""
    url = postgres_server.url.set(database=f"hokusai_test_{uuid.uuid4().hex[:12]}")
    plain = postgres_server.url.set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as server:
        server.execute(
            f"CREATE DATABASE {url.database} TEMPLATE template0 ENCODING 'LATIN1' "
            "LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    yield url.render_as_string(hide_password=False)
    postgres_server.drop_database(url)


def test_a_database_that_cannot_hold_every_text_is_refused(
    open_sql: OpenSql, latin_url: str
) -> None:
    """At once, so that the spool takes over: not when the first such text comes."""
    journal = open_sql(latin_url).journal
    asks: list[Callable[[], object]] = [
        lambda: journal.journal_backlog(""),
        journal.journal_upgrade,
    ]
    for ask in asks:
        with pytest.raises(JournalUnavailableError, match=r"encoding LATIN1.*ENCODING 'UTF8'"):
            ask()
