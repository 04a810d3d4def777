"""Every module that declares tables, imported together, so that the collection is complete."""

from importlib.util import find_spec

from hokusai_backend_sql import content, journal_schema
from hokusai_backend_sql.schema import metadata

if find_spec("hokusai_backend_sql.records_schema"):
    from hokusai_backend_sql import records_schema  # noqa: F401 - declares the records' tables

__all__ = ["content", "journal_schema", "metadata"]
