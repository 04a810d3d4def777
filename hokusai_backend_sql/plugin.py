"""The manifest of the SQL backend. Importing it imports no driver."""

from hokusai_core.plugins import BackendConfig, BackendPlugin


def _open(config: BackendConfig) -> object:
    from hokusai_backend_sql.backend import SqlBackend
    from hokusai_backend_sql.database_url import database_url
    from hokusai_backend_sql.engine import Database

    return SqlBackend(Database(database_url(config), config.settings, config.role))


def _destination(config: BackendConfig) -> str:
    from hokusai_backend_sql.database_url import database_url, describe

    return config.settings.destination or describe(database_url(config))


def _drivers(config: BackendConfig) -> tuple[str, ...]:
    url = config.settings.database_url
    if config.role == "spool" or url is None:
        return ()
    return ("psycopg",) if url.get_secret_value().strip().startswith("postgres") else ()


plugin = BackendPlugin(
    name="sql",
    capabilities=frozenset({"tracking", "registry", "journal", "artifacts", "logged_models"}),
    open=_open,
    destination=_destination,
    requires=("sqlalchemy", "alembic"),
    drivers=_drivers,
    extra="sql",
)
"""PostgreSQL or SQLite, as a journal, and as a primary without MLflow."""
