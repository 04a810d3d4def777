"""What answered a health check: product, version and place, without credentials."""

from sqlalchemy import Connection, text

from hokusai_core.entities import BackendHealth


def describe(connection: Connection) -> BackendHealth:
    """Ask the database for its version, and name it as people know it."""
    url = connection.engine.url
    if connection.dialect.name == "postgresql":
        version = str(connection.scalar(text("SHOW server_version"))).split(" ")[0]
        place = f"{url.host or 'the local socket'}/{url.database or ''}"
        return BackendHealth(description=f"PostgreSQL {version} at {place}", version=version)
    version = str(connection.scalar(text("SELECT sqlite_version()")))
    return BackendHealth(description=f"SQLite file {url.database}", version=version)
