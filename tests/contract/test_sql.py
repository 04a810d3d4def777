"""The SQL backend keeps the contracts, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hokusai_backend_sql.backend import SqlBackend
from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.plugins import BackendConfig, Role
from hokusai_core.settings import Settings
from hokusai_core.testing.contracts import JournalContract, RegistryContract, TrackingContract
from tests.support.sql_fixtures import DATABASES


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


class TestSqlTracking(TrackingContract):
    @pytest.fixture
    def backend(self, primary: OpenBackend) -> OpenBackend:
        return primary


class TestSqlRegistry(RegistryContract):
    @pytest.fixture
    def backend(self, primary: OpenBackend) -> OpenBackend:
        return primary


class TestSqlJournal(JournalContract):
    @pytest.fixture
    def backend(self, journal: OpenBackend) -> OpenBackend:
        return journal
