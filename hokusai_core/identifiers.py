"""Identifiers that Hokusai makes: operation ids, and provisional ids derived from them.

An experiment, run, model version or logged model that is created while the primary is away needs
an id at once. That *provisional id* carries the ``op_id`` of its creation, and the creation writes
the ``op_id`` as a tag on the primary; so whoever meets a provisional id can find the real thing
with one search, and no second tag is needed.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

OP_ID_TAG = "hokusai.op_id"
"""Tag on runs, logged models and model versions: the ``op_id`` of the operation that made them."""

_PREFIX = "hokusai"
_PROVISIONAL = re.compile(r"hokusai-(experiment|run|version|model)-([0-9a-f]{32})")

_WORD = re.compile(r"[\w\-]+")


class IdKind(StrEnum):
    """What a provisional id stands for."""

    EXPERIMENT = "experiment"
    RUN = "run"
    VERSION = "version"
    MODEL = "model"


def new_op_id() -> str:
    """Make an operation id: 32 hexadecimal digits of a random UUID (version 4)."""
    octets = bytearray(os.urandom(16))
    octets[6] = octets[6] & 0x0F | 0x40
    octets[8] = octets[8] & 0x3F | 0x80
    return octets.hex()


def provisional_id(kind: IdKind, op_id: str) -> str:
    """Give the provisional id of what the creation with this ``op_id`` makes."""
    return f"{_PREFIX}-{kind.value}-{op_id}"


def is_provisional(identifier: str) -> bool:
    """Say whether an id is one that Hokusai made, and must never be sent as it is."""
    return _PROVISIONAL.fullmatch(identifier) is not None


@lru_cache(maxsize=1024)
def creation_of(identifier: str) -> tuple[IdKind, str] | None:
    """Take a provisional id apart: its kind and the ``op_id`` of its creation; None for others."""
    match = _PROVISIONAL.fullmatch(identifier)
    return (IdKind(match[1]), match[2]) if match else None


def provisional_ids_in(text: str) -> tuple[str, ...]:
    """List the distinct provisional ids that occur in a text (a URI, a tag value), in order.

    One is found where :func:`rename_ids` would exchange it, never inside a longer id.
    """
    return _ids_in(text) if _PREFIX in text else ()


@lru_cache(maxsize=1024)
def _ids_in(text: str) -> tuple[str, ...]:
    words = (match[0] for match in _WORD.finditer(text))
    return tuple(dict.fromkeys(word for word in words if is_provisional(word)))


def rename_ids(text: str, mapping: Mapping[str, str]) -> str:
    """Exchange ids inside an id or a URI, as the mapping says; what it does not know stays.

    An id is a maximal stretch of letters, digits, underscores and dashes, so that no id is ever
    found inside a longer one.
    """
    if text.isalnum() or creation_of(text) is not None:
        return mapping.get(text, text)
    return _WORD.sub(lambda match: mapping.get(match[0], match[0]), text)
