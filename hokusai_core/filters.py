"""MLflow's search language for runs, as far as every backend and the overlay understand it.

A filter is a list of comparisons joined by ``AND``; there is no ``OR``, no parenthesis round a
comparison, and no negation. The subset, with the meaning that MLflow 3.17 gives it::

    comparison   identifier operator value
    identifier   [prefix .] key
    prefix       metrics, params, tags, attributes (and the spellings in FIELDS); none: attribute
    key          letters, digits, underscores and dots, or anything in `backticks` or "quotes"
    attribute    run_id, run_name, status, start_time (also: created), end_time, artifact_uri,
                 user_id
    operator     metrics, start_time, end_time:   =  !=  >  >=  <  <=
                 params, tags, other attributes:  =  !=  LIKE  ILIKE
                 run_id besides:                  IN  NOT IN  (a list of strings in parentheses)
    value        a number, or a string in 'single' or "double" quotes; a quote cannot be escaped

A run that lacks the metric, param or tag never matches, whatever the operator; a NaN matches only
``!=``. In ``LIKE``, ``%`` stands for any characters and ``_`` for one. ``ILIKE`` ignores the case
of the letters A to Z. Prefixes and attributes are written as above; ``AND``, ``LIKE``, ``IN``,
``ASC`` and ``DESC`` in any case.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn, cast

from hokusai_core.entities import Run
from hokusai_core.errors import UnsupportedFilterError
from hokusai_core.limits import STEP_MAX, STEP_MIN

__all__ = [
    "Condition",
    "Order",
    "ascii_lower",
    "is_numeric",
    "matches",
    "parse_filter",
    "parse_order_by",
    "sort_runs",
]

Field = Literal["attribute", "metric", "param", "tag"]
Operator = Literal["=", "!=", ">", ">=", "<", "<=", "LIKE", "ILIKE", "IN", "NOT IN"]

FIELDS: dict[str, Field] = {
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "metric": "metric",
    "metrics": "metric",
    "parameter": "param",
    "parameters": "param",
    "param": "param",
    "params": "param",
    "tag": "tag",
    "tags": "tag",
}
"""What each prefix means."""

NUMERIC_ATTRIBUTES = ("start_time", "end_time")
_TEXT_ATTRIBUTES = ("run_id", "run_name", "status", "artifact_uri", "user_id")
_ATTRIBUTES = {name: name for name in (*NUMERIC_ATTRIBUTES, *_TEXT_ATTRIBUTES)} | {
    "created": "start_time",
    "Created": "start_time",
}
_FILTER_ATTRIBUTES = _ATTRIBUTES | dict.fromkeys(("run name", "Run name", "Run Name"), "run_name")

_NUMERIC_OPERATORS = ("=", "!=", ">", ">=", "<", "<=")
_TEXT_OPERATORS = ("=", "!=", "LIKE", "ILIKE")
_LIST_OPERATORS = ("IN", "NOT IN")

_PLAIN_KEY = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_IDENTIFIER = re.compile(
    rf"""(?:(?P<prefix>[A-Za-z]+)\.)?(?:(?P<plain>{_PLAIN_KEY})|`(?P<ticked>[^`]+)`|"(?P<quoted>[^"]+)")"""
)
_OPERATOR = re.compile(r"\s*(?P<sign>!=|>=|<=|=|>|<)\s*|\s+(?P<word>NOT\s+IN|IN|I?LIKE)\b\s*", re.I)
_TEXT = re.compile(r"""'([^']*)'(?!')|"([^"]*)"(?!")""")
_NUMBER = re.compile(
    r"(?P<integer>-?\d+)(?![\w.])|-?(?:\d+\.\d*|\.\d+)(?![\w.])|-?\d+(?:\.\d+)?[eE]-?\d+(?![\w.])"
)
_AND = re.compile(r"\s+AND\s+", re.I)
_OPENING = re.compile(r"\(\s*")
_COMMA = re.compile(r"\s*,\s*")
_CLOSING = re.compile(r"\s*\)")
_DIRECTION = re.compile(r"\s+(ASC|DESC)", re.I)
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")

_UNDERSTOOD = (
    "Understood are comparisons joined by AND: metrics.<key> with = != > >= < <= and a number; "
    "params.<key> and tags.<key> with = != LIKE ILIKE and a quoted string; the attributes "
    "start_time and end_time like metrics, run_name, status, artifact_uri and user_id like params, "
    "and run_id, also with IN and NOT IN and a list of quoted strings. Other characters in a key "
    "need `backticks`."
)
_UNDERSTOOD_ORDER = (
    "Understood are metrics.<key>, params.<key>, tags.<key> and the attributes "
    f"{', '.join(sorted(_ATTRIBUTES))}, each with ASC or DESC after it, or neither (ASC)."
)


@dataclass(frozen=True)
class Condition:
    """One comparison of a filter.

    ``value`` is a number for metrics and for ``start_time`` and ``end_time`` (whole milliseconds
    are an ``int``), a tuple for ``IN`` and ``NOT IN``, else a string.
    """

    field: Field
    key: str
    operator: Operator
    value: float | str | tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """One key to sort by."""

    field: Field
    key: str
    descending: bool = False


def parse_filter(text: str) -> tuple[Condition, ...]:
    """Read a filter; a blank one has no conditions.

    Raises:
        UnsupportedFilterError: Naming the part that is not understood, and what is.

    """
    if not text.strip():
        return ()
    reader = _Reader(text.strip(), "filter", _UNDERSTOOD)
    conditions = [_condition(reader)]
    while not reader.at_end:
        reader.expect(_AND, "AND")
        conditions.append(_condition(reader))
    return tuple(conditions)


def parse_order_by(order_by: Sequence[str]) -> tuple[Order, ...]:
    """Read the keys to sort by, the first one first.

    Raises:
        UnsupportedFilterError: Naming the part that is not understood, and what is.

    """
    orders: list[Order] = []
    for text in order_by:
        reader = _Reader(text.strip(), "order", _UNDERSTOOD_ORDER)
        field, key = _identifier(reader, _ATTRIBUTES)
        direction = reader.take(_DIRECTION)
        if not reader.at_end:
            reader.refuse("the end, ASC or DESC")
        if any((order.field, order.key) == (field, key) for order in orders):
            raise UnsupportedFilterError(f"The order names {field} {key!r} twice. Remove one.")
        orders.append(Order(field, key, direction is not None and direction[1].upper() == "DESC"))
    return tuple(orders)


def matches(run: Run, conditions: Sequence[Condition]) -> bool:
    """Say whether a run meets all conditions, by its latest metrics, its params, tags and info."""
    return all(_meets(_value_of(run, item.field, item.key), item) for item in conditions)


def sort_runs(runs: Sequence[Run], orders: Sequence[Order] = ()) -> list[Run]:
    """Sort as MLflow does.

    Runs without the value come last and NaN before these, in both directions. Strings are compared
    by code points. What is equal is ordered by ``start_time``, newest first, then by run id.
    """
    result = sorted(runs, key=lambda run: run.info.run_id)
    for order in (*orders, Order("attribute", "start_time", descending=True))[::-1]:
        rank, value = _sort_keys(order)
        result.sort(key=value, reverse=order.descending)
        result.sort(key=rank)
    return result


def is_numeric(field: Field, key: str) -> bool:
    """Say whether a field holds numbers: metrics, and the attributes that are times."""
    return field == "metric" or (field == "attribute" and key in NUMERIC_ATTRIBUTES)


def ascii_lower(text: str) -> str:
    """Lower the letters A to Z and leave all others, as ``ILIKE`` does here on every database."""
    return text.translate(_ASCII_LOWER)


class _Reader:
    """A position in a text, and the errors that point to it."""

    def __init__(self, text: str, what: str, understood: str) -> None:
        self._text = text
        self._what = what
        self._understood = understood
        self._position = 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._text)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._position)
        if match:
            self._position = match.end()
        return match

    def expect(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        return self.take(pattern) or self.refuse(expected)

    def refuse(self, expected: str) -> NoReturn:
        rest = self._text[self._position :] or "its end"
        raise UnsupportedFilterError(
            f"The {self._what} {self._text!r} is not understood at {rest!r}: expected {expected}. "
            f"{self._understood}"
        )


class _Identifier(NamedTuple):
    field: Field
    key: str


def _identifier(reader: _Reader, attributes: dict[str, str]) -> _Identifier:
    match = reader.expect(_IDENTIFIER, "metrics.<key>, params.<key>, tags.<key> or an attribute")
    prefix = match["prefix"]
    key = match["plain"] or match["ticked"] or match["quoted"]
    if prefix is not None and prefix not in FIELDS:
        reader.refuse(f"one of the prefixes {', '.join(FIELDS)} in the place of {prefix!r}")
    field = FIELDS[prefix] if prefix else "attribute"
    if field == "attribute":
        if key not in attributes:
            reader.refuse(f"one of the attributes {', '.join(attributes)} in the place of {key!r}")
        key = attributes[key]
    return _Identifier(field, key)


def _condition(reader: _Reader) -> Condition:
    field, key = _identifier(reader, _FILTER_ATTRIBUTES)
    numeric = is_numeric(field, key)
    allowed: tuple[str, ...] = _NUMERIC_OPERATORS if numeric else _TEXT_OPERATORS
    if field == "attribute" and key == "run_id":
        allowed = (*allowed, *_LIST_OPERATORS)
    match = reader.expect(_OPERATOR, f"one of the operators {' '.join(allowed)}")
    operator = match["sign"] or " ".join(match["word"].upper().split())
    if operator not in allowed:
        reader.refuse(f"one of {' '.join(allowed)} with {field} {key!r}, not {operator}")
    value: float | str | tuple[str, ...]
    if operator in _LIST_OPERATORS:
        value = _list_of_texts(reader)
    elif numeric:
        value = _number(reader, whole=field == "attribute")
    else:
        value = _quoted_text(reader)
    return Condition(field, key, cast("Operator", operator), value)


def _quoted_text(reader: _Reader) -> str:
    match = reader.expect(_TEXT, "a string in quotes")
    value: str = match[1] if match[1] is not None else match[2]
    if "\\" in value:
        reader.refuse("a string without a backslash before this")
    return value


def _list_of_texts(reader: _Reader) -> tuple[str, ...]:
    reader.expect(_OPENING, "a list of strings in parentheses")
    values = [_quoted_text(reader)]
    while reader.take(_COMMA):
        values.append(_quoted_text(reader))
    reader.expect(_CLOSING, "a comma or the closing parenthesis")
    return tuple(values)


def _number(reader: _Reader, *, whole: bool) -> float:
    match = reader.expect(_NUMBER, "a number")
    if not whole:
        return float(match[0])
    value: float = int(match[0]) if match["integer"] else float(match[0])
    if not STEP_MIN <= value <= STEP_MAX:
        reader.refuse("a time of at most 64 bits before this")
    return int(value) if value == int(value) else value


def _value_of(run: Run, field: Field, key: str) -> float | str | None:
    if field == "metric":
        return run.data.metrics.get(key)
    if field == "param":
        return run.data.params.get(key)
    if field == "tag":
        return run.data.tags.get(key)
    value: float | str | None = getattr(run.info, key)
    return value


_COMPARISONS: dict[str, Callable[..., bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    "LIKE": lambda left, right: _like(right, left),
    "ILIKE": lambda left, right: _like(ascii_lower(right), ascii_lower(left)),
    "IN": lambda left, right: left in right,
    "NOT IN": lambda left, right: left not in right,
}


def _meets(value: float | str | None, condition: Condition) -> bool:
    if value is None:
        return False
    return _COMPARISONS[condition.operator](value, condition.value)


def _like(pattern: str, text: str) -> bool:
    parts = (
        ".*" if character == "%" else "." if character == "_" else re.escape(character)
        for character in pattern
    )
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _sort_keys(order: Order) -> tuple[Callable[[Run], int], Callable[[Run], float | str]]:
    """Give a rank that puts NaN and missing values last, and the value to sort by within a rank."""
    neutral: float | str = 0 if is_numeric(order.field, order.key) else ""

    def rank(run: Run) -> int:
        value = _value_of(run, order.field, order.key)
        return 2 if value is None else int(isinstance(value, float) and math.isnan(value))

    def value(run: Run) -> float | str:
        found = _value_of(run, order.field, order.key)
        return neutral if found is None or rank(run) else found

    return rank, value
