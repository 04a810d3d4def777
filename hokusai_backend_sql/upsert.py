"""Inserts that may meet an existing row: the same for PostgreSQL and SQLite.

Rows are written in the order of their primary keys, so that two transactions that write the same
rows never wait for each other in a circle.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, tuple_

from hokusai_backend_sql.schema import insert_into

Row = Mapping[str, Any]


def insert_missing(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Insert the rows whose primary key is not there; leave the others as they are."""
    values = _in_order(table, rows)
    if values:
        connection.execute(insert_into(connection, table).on_conflict_do_nothing(), values)


def insert_unless_there(connection: Connection, table: Table, row: Row) -> bool:
    """Insert one row unless one of its unique values is there; say whether it was inserted."""
    statement = insert_into(connection, table).on_conflict_do_nothing().values(dict(row))
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def overwrite(
    connection: Connection,
    table: Table,
    rows: Iterable[Row],
    *,
    if_greater: tuple[str, ...] = (),
) -> None:
    """Insert the rows, or set the other columns of those whose primary key is there.

    With ``if_greater``, a row that is there is only set where these columns, compared in this
    order, grow.
    """
    values = _in_order(table, rows)
    if not values:
        return
    statement = insert_into(connection, table)
    new = statement.excluded
    grows = None
    if if_greater:
        grows = tuple_(*(new[name] for name in if_greater)) > tuple_(
            *(table.c[name] for name in if_greater)
        )
    statement = statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={column.name: new[column.name] for column in table.c if not column.primary_key},
        where=grows,
    )
    connection.execute(statement, values)


def _in_order(table: Table, rows: Iterable[Row]) -> list[dict[str, Any]]:
    keys = [column.name for column in table.primary_key]
    return sorted((dict(row) for row in rows), key=lambda row: tuple(row[key] for key in keys))
