"""Every module that declares tables, imported together, so that the collection is complete."""

from hokusai_backend_sql import content, journal_schema, records_schema
from hokusai_backend_sql.schema import metadata

__all__ = ["content", "journal_schema", "metadata", "records_schema"]
