"""MLflow's database stores, opened directly and with bounded waits.

MLflow tries a database that cannot be opened ten times, for over a minute, waits 20 s for a locked
SQLite file, and sets PostgreSQL no limits at all. Here each store has an engine of its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow  # noqa: F401 - before its modules (see mlflow_entities)
import sqlalchemy
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistrySqlStore
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingSqlStore

from hokusai_backend_mlflow.errors import from_mlflow
from hokusai_backend_mlflow.stores import TranslatingStore

_POSTGRESQL_CONNECT_SECONDS = 2


def open_tracking_database(uri: str, what: str, seconds: float) -> TranslatingStore:
    """Open a tracking database, with MLflow's own default for its artifacts.

    Args:
        uri: The database's URL.
        what: What it is, for messages.
        seconds: Longest wait for a lock or a statement.

    """

    class Store(_own_engine(TrackingSqlStore, seconds)):  # type: ignore[misc]
        """With an engine of its own."""

    return _opened(lambda url: Store(url, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH), uri, what, seconds)


def open_registry_database(uri: str, what: str, seconds: float) -> TranslatingStore:
    """Open a model registry's database; the arguments are as for the tracking database."""

    class Store(_own_engine(RegistrySqlStore, seconds)):  # type: ignore[misc]
        """With an engine of its own."""

    return _opened(Store, uri, what, seconds)


def _own_engine(base: Any, seconds: float) -> Any:
    class OwnEngine(base):  # type: ignore[misc]
        @classmethod
        def _get_or_create_engine(cls, db_uri: str) -> sqlalchemy.Engine:
            return _engine(db_uri, seconds)

    return OwnEngine


def _opened(make: Callable[[str], Any], uri: str, what: str, seconds: float) -> TranslatingStore:
    url = _bounded(uri, seconds)
    is_sqlite = uri.startswith("sqlite")
    try:
        if is_sqlite and (file := sqlalchemy.make_url(url).database):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        probe = _engine(url, seconds)
        try:
            with probe.connect():
                pass
        finally:
            probe.dispose()
        store = make(url)
    except Exception as cause:
        raise from_mlflow(cause, f"Opening {what}", ambiguous=False) from cause
    return TranslatingStore(store, what, ambiguous=not is_sqlite)


def _bounded(uri: str, seconds: float) -> str:
    """Add to a PostgreSQL address the limits that it does not set itself."""
    url = sqlalchemy.make_url(uri)
    if not url.drivername.startswith("postgresql"):
        return uri
    milliseconds = str(int(seconds * 1000))
    limits = {
        "connect_timeout": str(_POSTGRESQL_CONNECT_SECONDS),
        "tcp_user_timeout": milliseconds,
        "options": f"-c statement_timeout={milliseconds}",
    }
    missing = {name: value for name, value in limits.items() if name not in url.query}
    return url.update_query_dict(missing).render_as_string(hide_password=False)


def _engine(url: str, seconds: float) -> sqlalchemy.Engine:
    engine: sqlalchemy.Engine = create_sqlalchemy_engine(url)
    if engine.dialect.name == "sqlite":

        @sqlalchemy.event.listens_for(engine, "before_cursor_execute", retval=True)
        def shorten(
            _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
        ) -> tuple[str, Any]:
            if statement.startswith("PRAGMA busy_timeout"):
                return f"PRAGMA busy_timeout = {int(seconds * 1000)};", parameters
            return statement, parameters

    return engine
