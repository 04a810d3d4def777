"""Searches for runs: MLflow's filter language as SQL, and the loading of whole runs.

The meaning is that of :func:`hokusai_core.filters.matches` and
:func:`hokusai_core.filters.sort_runs`, on every database.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    exists,
    func,
    or_,
    select,
)

from hokusai_backend_sql.paging import read_token, write_token
from hokusai_backend_sql.records_schema import (
    ACTIVE,
    DELETED,
    latest_metrics,
    run_params,
    run_tags,
    runs,
)
from hokusai_backend_sql.run_writes import experiment_number
from hokusai_core.entities import Page, Run, RunData, RunInfo
from hokusai_core.filters import Condition, Order, ascii_lower, parse_filter, parse_order_by
from hokusai_core.operations import MetricPoint
from hokusai_core.queries import RunQuery

_RUNS_PER_STATEMENT = 500
_PAIRS = {"param": run_params, "tag": run_tags}
_NEWEST_FIRST = Order("attribute", "start_time", descending=True)
_STAGES = {"ACTIVE_ONLY": (ACTIVE,), "DELETED_ONLY": (DELETED,), "ALL": (ACTIVE, DELETED)}


def search_runs(connection: Connection, query: RunQuery) -> Page[Run]:
    """Give one page of the runs that a query selects; its token holds the number of runs before.

    Raises:
        UnsupportedFilterError: For a filter or an order outside the language.
        InvalidInputError: For a token that is not from here.

    """
    offset = sum(read_token(query.page_token, (int,)))
    statement = (
        select(runs)
        .where(
            runs.c.experiment_id.in_([experiment_number(each) for each in query.experiment_ids]),
            runs.c.lifecycle_stage.in_(_STAGES[query.view_type]),
            *(_meets(condition, connection) for condition in parse_filter(query.filter_string)),
        )
        .offset(offset)
        .limit(query.max_results + 1)
    )
    for order in (*parse_order_by(query.order_by), _NEWEST_FIRST):
        statement = _sorted(statement, order)
    rows = connection.execute(statement.order_by(runs.c.run_id)).all()
    more = len(rows) > query.max_results
    return Page(
        items=load_runs(connection, rows[: query.max_results]),
        next_page_token=write_token(offset + query.max_results) if more else "",
    )


def load_runs(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Run, ...]:
    """Complete rows of the table ``runs`` by their latest metrics, params and tags, in order."""
    found: list[Run] = []
    for start in range(0, len(rows), _RUNS_PER_STATEMENT):
        found.extend(_load(connection, rows[start : start + _RUNS_PER_STATEMENT]))
    return tuple(found)


def metric_point(row: Row[Any]) -> MetricPoint:
    """Give the point that a row of ``metrics`` or ``latest_metrics`` stands for."""
    value = float("nan") if row.is_nan else row.value
    return MetricPoint(key=row.key, value=value, timestamp=row.timestamp, step=row.step)


def _load(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[Run]:
    ids = [row.run_id for row in rows]
    pairs: dict[str, dict[str, dict[str, str]]] = {"param": {}, "tag": {}}
    for field, table in _PAIRS.items():
        for row in connection.execute(select(table).where(table.c.run_id.in_(ids))):
            pairs[field].setdefault(row.run_id, {})[row.key] = row.value
    points: defaultdict[str, list[MetricPoint]] = defaultdict(list)
    statement = select(latest_metrics).where(latest_metrics.c.run_id.in_(ids))
    for row in connection.execute(statement.order_by(latest_metrics.c.key)):
        points[row.run_id].append(metric_point(row))
    for row in rows:
        latest = tuple(points[row.run_id])
        yield Run(
            info=_run_info(row),
            data=RunData(
                metrics={point.key: point.value for point in latest},
                params=pairs["param"].get(row.run_id, {}),
                tags=pairs["tag"].get(row.run_id, {}),
            ),
            latest_metrics=latest,
        )


def _run_info(row: Row[Any]) -> RunInfo:
    return RunInfo(
        run_id=row.run_id,
        experiment_id=str(row.experiment_id),
        run_name=row.run_name,
        status=row.status,
        start_time=row.start_time,
        end_time=row.end_time,
        lifecycle_stage=row.lifecycle_stage,
        artifact_uri=row.artifact_uri,
        user_id=row.user_id,
    )


def _meets(condition: Condition, connection: Connection) -> ColumnElement[bool]:
    """Give the condition as SQL; a value that is missing meets none."""
    if condition.field == "attribute":
        return _compared(runs.c[condition.key], condition, connection)
    if condition.field == "metric":
        table = latest_metrics
        compared = _compared(table.c.value, condition, connection)
        if condition.operator == "!=":
            compared = or_(compared, table.c.is_nan)
        else:
            compared = and_(compared, ~table.c.is_nan)
    else:
        table = _PAIRS[condition.field]
        compared = _compared(table.c.value, condition, connection)
    return exists().where(table.c.run_id == runs.c.run_id, table.c.key == condition.key, compared)


_COMPARISONS: dict[str, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    "IN": lambda column, value: column.in_(value),
    "NOT IN": lambda column, value: column.not_in(value),
}


def _compared(
    column: ColumnElement[Any], condition: Condition, connection: Connection
) -> ColumnElement[bool]:
    if condition.operator in ("LIKE", "ILIKE"):
        pattern = str(condition.value)
        if condition.operator == "ILIKE":
            column, pattern = func.lower(column), ascii_lower(pattern)
        if connection.dialect.name == "postgresql":
            return column.like(pattern.replace("\\", "\\\\"))
        return column.op("GLOB")(_glob(pattern))
    return _COMPARISONS[condition.operator](column, condition.value)


_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


def _glob(pattern: str) -> str:
    """Write a LIKE pattern for SQLite's GLOB, which heeds the case where its LIKE does not."""
    return pattern.translate(_GLOB)


def _sorted(statement: Select[Any], order: Order) -> Select[Any]:
    """Add a key to sort by: first whether it is missing or NaN, then its value."""
    if order.field == "attribute":
        column = runs.c[order.key]
        direction = column.desc() if order.descending else column.asc()
        if not column.nullable:
            return statement.order_by(direction)  # an index can serve it
        return statement.order_by(case((column.is_(None), 1), else_=0), direction)
    table = (latest_metrics if order.field == "metric" else _PAIRS[order.field]).alias()
    statement = statement.outerjoin(
        table, and_(table.c.run_id == runs.c.run_id, table.c.key == order.key)
    )
    value = table.c.value
    ranks: list[tuple[ColumnElement[bool], int]] = [(value.is_(None), 2)]
    if order.field == "metric":
        ranks.append((table.c.is_nan, 1))
    return statement.order_by(
        case(*ranks, else_=0), value.desc() if order.descending else value.asc()
    )
