"""The manifest of the SQL backend. Importing it imports no driver."""

from pathlib import Path

from hokusai_backend_sql.data_files import data_file, given_url
from hokusai_core.findings import Finding
from hokusai_core.plugins import BackendConfig, BackendPlugin


def _open(config: BackendConfig) -> object:
    from hokusai_backend_sql.backend import SqlBackend
    from hokusai_backend_sql.database_url import database_url
    from hokusai_backend_sql.engine import Database

    return SqlBackend(Database(database_url(config), config.settings, config.role))


def _destination(config: BackendConfig) -> str:
    from hokusai_backend_sql.database_url import database_url, describe

    # The setting names the primary; a journal is told to people by its address.
    named = config.settings.destination if config.role == "primary" else ""
    return named or describe(database_url(config))


def _on_a_server(config: BackendConfig) -> bool:
    return config.role != "spool" and given_url(config).startswith("postgres")


def _file(config: BackendConfig) -> Path | None:
    if _on_a_server(config):
        return None
    if file := data_file(config):
        return file
    from hokusai_backend_sql.database_url import database_url

    return Path(database_url(config).database or "")


def _local_folder(config: BackendConfig) -> Path | None:
    file = _file(config)
    if file is None:
        return None
    file = file.resolve()
    return file.with_name(f"{file.name}-points")


def _drivers(config: BackendConfig) -> tuple[str, ...]:
    return ("psycopg",) if _on_a_server(config) else ()


def _examine(config: BackendConfig) -> tuple[Finding, ...]:
    from hokusai_backend_sql.examination import examine

    file = _file(config)
    return examine(file, config.role) if file else ()


plugin = BackendPlugin(
    name="sql",
    capabilities=frozenset({"tracking", "registry", "journal", "artifacts", "logged_models"}),
    open=_open,
    destination=_destination,
    requires=("sqlalchemy", "alembic"),
    drivers=_drivers,
    needs_spool=_on_a_server,
    local_folder=_local_folder,
    examine=_examine,
    extra="sql",
)
"""PostgreSQL or SQLite, as a journal, and as a primary without MLflow."""
