"""Which database a configuration means, and how it is called without credentials."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hokusai_backend_sql.data_files import data_file, given_url
from hokusai_core.errors import ConfigurationError
from hokusai_core.machine import is_local, machine_id
from hokusai_core.plugins import BackendConfig

_POSTGRESQL_NAMES = ("postgresql", "postgres", "postgresql+psycopg")
_SQLITE_NAMES = ("sqlite", "sqlite+pysqlite")
_ACCEPTED = (
    "Set HOKUSAI_DATABASE_URL to postgresql+psycopg://user:password@host/database or to "
    "sqlite:////absolute/path.db, or unset it for a file in HOKUSAI_DATA_DIR."
)


def database_url(config: BackendConfig) -> URL:
    """Give the database of a configuration, with its driver, and an absolute path for a file.

    The spool is always a file of the data folder; the others are ``HOKUSAI_DATABASE_URL``, by default
    a file there, too.

    Raises:
        ConfigurationError: The URL is not one of PostgreSQL or of a SQLite file.

    """
    if path := data_file(config):
        return _file(path)
    try:
        url = make_url(given_url(config))
    except (ArgumentError, ValueError):
        # The cause repeats the URL, which may hold a password.
        raise ConfigurationError(f"HOKUSAI_DATABASE_URL is not a URL. {_ACCEPTED}") from None
    if url.drivername in _POSTGRESQL_NAMES:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in _SQLITE_NAMES:
        raise ConfigurationError(
            f"HOKUSAI_DATABASE_URL names the driver {url.drivername!r}, which is not supported. "
            f"{_ACCEPTED}"
        )
    if not url.database or url.database == ":memory:" or url.query.get("mode") == "memory":
        raise ConfigurationError(
            "HOKUSAI_DATABASE_URL names a SQLite database in memory, which would be lost with the "
            f"process. {_ACCEPTED}"
        )
    return _file(Path(url.database))


def describe(url: URL) -> str:
    """Give a database's identity without credentials; what is local carries the machine's id."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}@{machine_id()}"
    hosts = [url.host.lower()] if url.host else sorted(url.normalized_query.get("host", ()))
    port = url.port or ",".join(url.normalized_query.get("port", ())) or 5432
    identity = f"postgresql://{','.join(hosts)}:{port}/{url.database or ''}"
    return f"{identity}@{machine_id()}" if all(map(is_local, hosts)) else identity


def _file(path: Path) -> URL:
    return URL.create("sqlite+pysqlite", database=str(path.expanduser().absolute()))
