"""The manifest of the SQL backend. Importing it imports no driver."""

from hokusai_core.plugins import BackendConfig, BackendPlugin


def _open(config: BackendConfig) -> object:
    from hokusai_backend_sql.backend import SqlBackend
    from hokusai_backend_sql.database_url import check_driver, database_url
    from hokusai_backend_sql.engine import Database

    url = database_url(config)
    check_driver(url)
    return SqlBackend(Database(url, config.settings, config.role))


def _destination(config: BackendConfig) -> str:
    from hokusai_backend_sql.database_url import database_url, describe

    return config.settings.destination or describe(database_url(config))


plugin = BackendPlugin(
    name="sql",
    capabilities=frozenset({"tracking", "registry", "journal", "artifacts", "logged_models"}),
    open=_open,
    destination=_destination,
    requires=("sqlalchemy", "alembic"),
    extra="sql",
)
"""PostgreSQL or SQLite, as a journal, and as a primary without MLflow."""
