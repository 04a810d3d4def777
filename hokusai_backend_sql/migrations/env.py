"""Run by alembic for each command; the connection comes from the caller."""

from alembic import context
from sqlalchemy import text

from hokusai_backend_sql.schema import SCHEMA_NAME
from hokusai_backend_sql.tables import metadata
from hokusai_backend_sql.upgrade import VERSION_TABLES

connection = context.config.attributes["connection"]
name = connection.dialect.name
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLES[name],
    version_table_schema=SCHEMA_NAME if name == "postgresql" else None,
    render_as_batch=name == "sqlite",
)
with context.begin_transaction():
    if name == "postgresql":
        # Alembic writes some statements without the schema, whatever the engine translates.
        connection.execute(text(f"SET LOCAL search_path TO {SCHEMA_NAME}"))
    context.run_migrations()
