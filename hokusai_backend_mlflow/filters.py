"""Conditions in MLflow's filter language."""

import re

from hokusai_core.identifiers import OP_ID_TAG

_LONGEST_VALUE = 250
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f]")


def with_op_id(op_id: str) -> str:
    """Give the condition that selects what the operation made; an ``op_id`` needs no quoting."""
    return f"tags.`{OP_ID_TAG}` = '{op_id}'"


def equals(attribute: str, value: str) -> str | None:
    """Give the condition that an attribute has the value.

    None where no filter can hold the value: it goes between the quotes that it does not hold, and
    one with both kinds, with a backslash or control characters, or a very long one, cannot go.
    """
    if _UNSAFE.search(value) or len(value) > _LONGEST_VALUE:
        return None
    quote = next((quote for quote in "'\"" if quote not in value), None)
    return quote and f"{attribute} = {quote}{value}{quote}"


def like(attribute: str, pattern: str) -> str | None:
    """Give the condition that an attribute is like the pattern; None where no filter can say so.

    The pattern's own ``%`` and ``_`` cannot be escaped: more may match than is meant.
    """
    condition = equals(attribute, pattern)
    return condition and condition.replace(" = ", " LIKE ", 1)


def tag_equals(key: str, value: str) -> str | None:
    """Give the condition that a tag has the value; None where no filter can say so."""
    return None if "`" in key else equals(f"tags.`{key}`", value)


def joined(conditions: list[str | None]) -> str:
    """Join those conditions that a filter can hold by "and"."""
    return " AND ".join(condition for condition in conditions if condition)
