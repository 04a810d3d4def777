"""The SQL backend keeps the contracts, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from hokusai_backend_sql.backend import SqlBackend
from hokusai_backend_sql.engine import Database
from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.plugins import BackendConfig, Role
from hokusai_core.settings import Settings
from hokusai_core.testing.contracts import JournalContract, RegistryContract, TrackingContract
from hokusai_core.testing.contracts.interruptions import Reopen
from hokusai_core.testing.cuts import Cuts, FaultPoints
from tests.support.sql_fixtures import DATABASES

POINTS = ("before the commit", "after the commit")


@pytest.fixture(scope="module", params=DATABASES)
def shared_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One database of each kind for all tests, which use names of their own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('contract') / 'hokusai.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    url = server.create_database()
    yield url.render_as_string(hide_password=False)
    server.drop_database(url)


@contextmanager
def opened(url: str, role: Role, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBackend]:
    settings = Settings.load(database_url=url, data_dir=tmp_path_factory.mktemp("data"))
    backend = open_backend("sql", BackendConfig(settings=settings, role=role))
    yield backend
    assert isinstance(backend.implementation, SqlBackend)
    backend.implementation.journal_close()


@pytest.fixture(scope="module")
def primary(shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBackend]:
    with opened(shared_url, "primary", tmp_path_factory) as backend:
        yield backend


@pytest.fixture(scope="module")
def journal(shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBackend]:
    with opened(shared_url, "journal", tmp_path_factory) as backend:
        yield backend


class SqlFixtures:
    """What the contracts need to cut writes off."""

    @pytest.fixture
    def cuts(self) -> Cuts:
        return {point: partial(_cut_at, point) for point in POINTS}


class TestSqlTracking(SqlFixtures, TrackingContract):
    """Experiments and runs."""

    @pytest.fixture
    def backend(self, primary: OpenBackend) -> OpenBackend:
        return primary

    @pytest.fixture
    def reopen(self, anew: Callable[[Role], OpenBackend]) -> Reopen:
        return lambda: anew("primary")


class TestSqlRegistry(SqlFixtures, RegistryContract):
    """Models and versions."""

    @pytest.fixture
    def backend(self, primary: OpenBackend) -> OpenBackend:
        return primary

    @pytest.fixture
    def reopen(self, anew: Callable[[Role], OpenBackend]) -> Reopen:
        return lambda: anew("primary")


class TestSqlJournal(SqlFixtures, JournalContract):
    """The queue."""

    @pytest.fixture
    def backend(self, journal: OpenBackend) -> OpenBackend:
        return journal

    @pytest.fixture
    def reopen(self, anew: Callable[[Role], OpenBackend]) -> Reopen:
        return lambda: anew("journal")


@pytest.fixture
def anew(
    shared_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Role], OpenBackend]]:
    """Opens the database once more, with connections of its own that end with the test."""
    with ExitStack() as stack:
        yield lambda role: stack.enter_context(opened(shared_url, role, tmp_path_factory))


@contextmanager
def _cut_at(point: str) -> Iterator[None]:
    """Cut the next write transaction off, before its commit or after it."""
    faults = FaultPoints(*POINTS)
    begin, run_alone = Database.begin, Database.run_alone

    @contextmanager
    def cut_begin(self: Database, **options: bool) -> Iterator[Connection]:
        with begin(self, **options) as connection:
            yield connection
            faults.reach("before the commit")
        faults.reach("after the commit")

    def cut_statement(self: Database, statement: str, *arguments: Any) -> object:
        faults.reach("before the commit")
        result = run_alone(self, statement, *arguments)
        faults.reach("after the commit")
        return result

    with pytest.MonkeyPatch.context() as patch, faults.cut_at(point):
        patch.setattr(Database, "begin", cut_begin)
        patch.setattr(Database, "run_alone", cut_statement)
        yield
