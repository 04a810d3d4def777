"""Conditions on lists of values, whose statement is the same text however long the list is.

SQLAlchemy's ``IN`` writes a parameter for each value, so a list of another length is another
statement, which has to be built, sent and planned anew. A list that is one parameter is prepared once.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Dialect, Text, TypeDecorator, bindparam, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine


class _ListOf(TypeDecorator[Sequence[Any]]):
    """A list as one parameter: an array on PostgreSQL, JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, *, numbers: bool) -> None:
        super().__init__()
        self.numbers = numbers

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(ARRAY(BigInteger if self.numbers else Text))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        values = list(value or ())
        return values if dialect.name == "postgresql" else json.dumps(values)


class _Pairs(TypeDecorator[Sequence[tuple[str, str]]]):
    """Pairs of texts as one parameter: JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        return json.dumps([list(pair) for pair in value or ()])


class one_of(FunctionElement[Any]):  # noqa: N801 - named like the SQL functions beside it
    """Whether a column's value is in the list that is bound to a name.

    Args:
        column: Of texts, or of whole numbers.
        name: Of the parameter: any sequence of values.
    """

    # Not Boolean: SQLite has no such type, and "(x IN ...) = 1" would use no index.
    type = NullType()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        numbers = column.type.python_type is int
        super().__init__(column, bindparam(name, type_=_ListOf(numbers=numbers)))


@compiles(one_of, "postgresql")
def _postgresql_one_of(element: one_of, compiler: Any, **keywords: Any) -> str:
    column, values = element.clauses
    return f"{compiler.process(column, **keywords)} = ANY ({compiler.process(values, **keywords)})"


@compiles(one_of, "sqlite")
def _sqlite_one_of(element: one_of, compiler: Any, **keywords: Any) -> str:
    column, values = element.clauses
    listed = f"SELECT value FROM json_each({compiler.process(values, **keywords)})"
    return f"{compiler.process(column, **keywords)} IN ({listed})"


class pair_of(FunctionElement[Any]):  # noqa: N801 - named like the SQL functions beside it
    """Whether the values of two columns are one of the pairs that are bound to a name.

    SQLite would read the whole table for an ``IN`` with two pairs or more, whatever its indexes.

    Args:
        first: A column of texts.
        second: Another one.
        name: Of the parameter: any sequence of pairs.
    """

    type = NullType()
    inherit_cache = True

    def __init__(self, first: ColumnElement[Any], second: ColumnElement[Any], name: str) -> None:
        super().__init__(first, second, bindparam(name, type_=_Pairs()))


@compiles(pair_of, "postgresql")
def _postgresql_pair_of(element: pair_of, compiler: Any, **keywords: Any) -> str:
    # A search for each pair; a join with a list might be planned, and kept, as a walk through all.
    first, second, pairs = element.clauses
    listed: ColumnElement[Any] = bindparam(pairs.key, expanding=True)
    return str(compiler.process(tuple_(first, second).in_(listed), **keywords))


@compiles(pair_of, "sqlite")
def _sqlite_pair_of(element: pair_of, compiler: Any, **keywords: Any) -> str:
    first, second, pairs = (compiler.process(each, **keywords) for each in element.clauses)
    return (
        f"({first}, {second}) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') "
        f"FROM json_each({pairs}))"
    )
