"""Fixtures: real PostgreSQL and SQLite databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.engine import URL

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import operations, streams
from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.hookspecs import Journal
from hokusai_core.plugins import BackendConfig, Role
from hokusai_core.settings import Settings
from tests.support.postgres import PostgresServer, running_server

DATABASES = ("sqlite", "postgresql")

OpenSql = Callable[..., OpenBackend]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> URL:
    return postgres_server.clean_database()


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.create_database()
    yield url.render_as_string(hide_password=False)
    postgres_server.drop_database(url)


@pytest.fixture
def postgres_url(postgres_database: URL) -> str:
    return postgres_database.render_as_string(hide_password=False)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'database' / 'hokusai.db'}"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    fixture = "sqlite_url" if request.param == "sqlite" else "empty_postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def open_sql(tmp_path: Path) -> Iterator[OpenSql]:
    """Opens the SQL backend on a database; what was opened is closed after the test."""
    opened: list[OpenBackend] = []

    def open_one(url: str, role: Role = "journal", **settings: object) -> OpenBackend:
        loaded = Settings.load(**{"database_url": url, "data_dir": tmp_path} | settings)
        backend = open_backend("sql", BackendConfig(settings=loaded, role=role))
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        backend.journal.journal_close()


@pytest.fixture
def journal(open_sql: OpenSql, database_url: str) -> Journal:
    return open_sql(database_url).journal


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """The database under the journal, to look at it and to disturb it."""
    database = Database(database_url, Settings.load(data_dir=tmp_path))
    yield database
    database.close()


@pytest.fixture
def time_passes(database: Database) -> Callable[[float], None]:
    """Lets seconds pass for the journal, by moving all times that it has stored into the past."""

    def move(seconds: float) -> None:
        with database.begin() as connection:
            for table, names in (
                (streams, ("ready_at", "lease_until")),
                (
                    operations,
                    ("not_before", "unmarked_not_before", "appended_at", "settled_at"),
                ),
            ):
                connection.execute(
                    update(table).values({name: table.c[name] - seconds for name in names})
                )

    return move
