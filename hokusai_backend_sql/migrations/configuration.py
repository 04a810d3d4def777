"""Alembic's configuration, made in memory: there is no file to find or to edit."""

from alembic.config import Config
from sqlalchemy import Connection


def configuration(connection: Connection) -> Config:
    """Give the configuration that runs the migrations on an open connection."""
    config = Config()
    config.set_main_option("script_location", "hokusai_backend_sql:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
