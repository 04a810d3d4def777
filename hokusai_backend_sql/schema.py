"""The collection that every table of the SQL backend belongs to.

Tables are declared without a schema. On PostgreSQL the engine puts them into :data:`SCHEMA_NAME`
(see :mod:`hokusai_backend_sql.engine`), because the database is shared with other software; SQLite
has a file of its own. After a change here, add a migration and raise :data:`SCHEMA_REVISION`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import BigInteger, Connection, Double, Integer, MetaData, Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    AnyRow = Row[*tuple[Any, ...]]
else:
    AnyRow = Row  # its parameters differ between the releases of SQLAlchemy

SCHEMA_NAME = "hokusai"
"""The PostgreSQL schema that holds all tables."""

SCHEMA_REVISION = "0003"
"""The migration that the tables of this release are the result of."""

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_index",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_foreign",
        "pk": "%(table_name)s_primary",
    }
)
"""All tables: the journal's, the contents, and the records of a primary."""

BigKey = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit integer that the database may count up by itself (SQLite wants the plain name)."""


class database_now(FunctionElement[float]):  # noqa: N801 - named like the SQL functions beside it
    """The database's own clock at this instant, in seconds since 1970.

    On PostgreSQL it is the server's clock and goes on within a transaction. SQLite runs in this
    machine, so it is the machine's wall clock.
    """

    type = Double()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _postgresql_now(_element: database_now, _compiler: Any, **_keywords: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(database_now, "sqlite")
def _sqlite_now(_element: database_now, _compiler: Any, **_keywords: Any) -> str:
    return "hokusai_now()"


DialectInsert = postgresql.Insert | sqlite.Insert
"""An INSERT with the clause ``ON CONFLICT``, which SQLAlchemy has for each dialect."""

T = TypeVar("T")


def in_each_dialect(table: Table, build: Callable[[DialectInsert], T]) -> dict[str, T]:
    """Build an INSERT for PostgreSQL and for SQLite, by the dialect's name."""
    return {
        "postgresql": build(postgresql.insert(table)),
        "sqlite": build(sqlite.insert(table)),
    }


def insert_into(connection: Connection, table: Table) -> DialectInsert:
    """Begin an INSERT in the connection's dialect, with its ``on_conflict`` clauses."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
