"""Conditions in MLflow's filter language."""

import re

from hokusai_core.identifiers import OP_ID_TAG

_LONGEST_VALUE = 250
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[^\\\x00-\x1f\x7f'\"%_\[\]*?]+")
"""Stretches that mean themselves in a pattern: MLflow writes LIKE as GLOB on SQLite."""


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


def starts_with(attribute: str, prefix: str) -> str | None:
    """Give the condition that an attribute begins with the prefix, as far as a filter can say so.

    More may match than is meant; None where nothing can be said.
    """
    plain = _PLAIN.match(prefix)
    return plain and _like(attribute, f"{_shortened(plain[0])}%")


def tag_equals(key: str, value: str) -> str | None:
    """Give the condition that a tag has the value; None where no filter can say so.

    For a value that no filter can hold it is that the tag holds the value's longest stretch that
    one can: more may match than is meant, but the server need not send all.
    """
    if "`" in key:
        return None
    attribute = f"tags.`{key}`"
    if condition := equals(attribute, value):
        return condition
    stretch = _shortened(max(_PLAIN.findall(value), key=len, default=""))
    return _like(attribute, f"%{stretch}%") if stretch else None


def tag_folded(key: str, value: str) -> str | None:
    """Give the condition that a tag has the value, whatever the case of its letters.

    None where no filter can say so. Wildcards in the value cannot be escaped: more may match.
    """
    condition = None if "`" in key else equals(f"tags.`{key}`", value)
    return condition and condition.replace(" = ", " ILIKE ", 1)


def joined(conditions: list[str | None]) -> str:
    """Join those conditions that a filter can hold by "and"."""
    return " AND ".join(condition for condition in conditions if condition)


def _like(attribute: str, pattern: str) -> str:
    return f"{attribute} LIKE '{pattern}'"


def _shortened(plain: str) -> str:
    return plain[: _LONGEST_VALUE - len("%%")]
