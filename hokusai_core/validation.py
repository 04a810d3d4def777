"""Checks of what the caller gives, the same for every backend, made before anything is written.

Each function returns the value in the form that operations hold, or raises
:class:`~hokusai_core.errors.InvalidInputError`. The rules are MLflow's (``mlflow/utils/validation.py``
of 3.17.2) with the limits of :mod:`hokusai_core.limits`; NUL characters and lone surrogates are
refused besides, because PostgreSQL and JSON cannot hold them.
"""

import math
import numbers
import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlparse, urlunparse

from hokusai_core import limits
from hokusai_core.errors import InvalidInputError

_KEY = re.compile(r"[/\w.\- :]*")
_ALIAS = re.compile(r"[\w\-]+")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def text(value: object, what: str, *, limit: int | None = None, empty: bool = True) -> str:
    """Check a text: a ``str`` that every store can hold, of at most ``limit`` characters.

    Args:
        value: What the caller gave.
        what: What it is, for the message ("tag 'stage'").
        limit: The most characters; None for no limit.
        empty: Whether a text of nothing but white space is allowed.

    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} must be a string, not {_kind(value)}.")
    if not empty and not value.strip():
        raise InvalidInputError(f"{what} must not be empty.")
    if limit is not None and len(value) > limit:
        raise InvalidInputError(
            f"{what} has {len(value)} characters; MLflow allows {limit}. Shorten it."
        )
    if _UNSTORABLE.search(value):
        raise InvalidInputError(
            f"{what} holds a NUL character or half of a surrogate pair, which no database stores."
        )
    return value


def key(value: object, what: str) -> str:
    """Check the key of a metric, param or tag: its characters, its form as a path, its length."""
    checked = text(value, f"The key of a {what}", empty=False)
    shown = _shown(checked)
    if not _KEY.fullmatch(checked):
        raise InvalidInputError(
            f"The key {shown} of a {what} may only hold letters, digits, underscores, dashes, "
            "periods, spaces, colons and slashes (MLflow's rule)."
        )
    if _not_a_plain_path(checked):
        raise InvalidInputError(
            f"The key {shown} of a {what} must not read as another path: no leading or trailing "
            "slash, no empty, '.' or '..' part (MLflow's rule)."
        )
    if len(checked) > limits.KEY_CHARACTERS:
        raise InvalidInputError(
            f"The key {shown} of a {what} has {len(checked)} characters; MLflow allows "
            f"{limits.KEY_CHARACTERS}."
        )
    return checked


def metric_value(value: Any, metric: str) -> float:
    """Convert a metric's value to a float, as MLflow does.

    Takes Python and numpy numbers (booleans count as 0 and 1), and arrays or tensors of one
    element (numpy, torch, TensorFlow, JAX), which are detached and copied to the CPU. NaN and
    infinities are values.
    """
    if type(value) is float:
        return value
    if isinstance(value, str | bytes | bytearray) or value is None:
        raise InvalidInputError(f"Metric {_shown(metric)} must be a number, not {_kind(value)}.")
    try:
        if not isinstance(value, numbers.Number) and hasattr(value, "item"):
            value = value.item()
        if isinstance(value, str | bytes | complex):
            raise TypeError(f"it holds {_kind(value)}")
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError) as cause:
        raise InvalidInputError(
            f"Metric {_shown(metric)} must be a number or hold exactly one, not {_kind(value)}."
        ) from cause


def step(value: Any, metric: str) -> int:
    """Check a step: a whole number of 64 bits; None is 0."""
    if value is None:
        return 0
    checked = _integer(value, f"The step of metric {_shown(metric)}")
    if not limits.STEP_MIN <= checked <= limits.STEP_MAX:
        raise InvalidInputError(
            f"The step {checked} of metric {_shown(metric)} does not fit into 64 bits."
        )
    return checked


def count(value: Any, what: str, most: int) -> int:
    """Check a number of results: a whole number from 1 to ``most``."""
    checked = _integer(value, what)
    if not 1 <= checked <= most:
        raise InvalidInputError(f"{what} must be from 1 to {most}, not {checked}.")
    return checked


def timestamp(value: Any, what: str) -> int:
    """Check a time: whole milliseconds since 1970 (UTC), not negative."""
    checked = _integer(value, f"The timestamp of {what}")
    if not 0 <= checked <= limits.TIMESTAMP_MAX:
        raise InvalidInputError(
            f"The timestamp {checked} of {what} must be milliseconds since 1970: from 0 to "
            f"{limits.TIMESTAMP_MAX} (63 bits)."
        )
    return checked


def param_value(value: Any, name: str) -> str:
    """Convert a param's value to text with ``str``, as MLflow does. The length is checked later."""
    return text(_as_text(value, f"param {_shown(name)}"), f"The value of param {_shown(name)}")


def tag_value(value: Any, name: str) -> str:
    """Convert a tag's value to text with ``str``, as MLflow does. The length is checked later."""
    return text(_as_text(value, f"tag {_shown(name)}"), f"The value of tag {_shown(name)}")


def registry_tags(
    tags: Any, *, limit: int = limits.REGISTRY_TAG_VALUE_CHARACTERS
) -> dict[str, str]:
    """Check the tags of a registered model or version: keys, and values of at most ``limit``."""
    return {
        key(name, "tag"): text(
            _as_text(value, f"tag {_shown(name)}"), f"The value of tag {_shown(name)}", limit=limit
        )
        for name, value in mapping(tags, "tags").items()
    }


def mapping(value: Any, what: str) -> Mapping[Any, Any]:
    """Check that something is a mapping; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{what} must be a dict, not {_kind(value)}.")
    return value


def experiment_name(value: object) -> str:
    """Check the name of an experiment."""
    return text(value, "The experiment name", limit=limits.EXPERIMENT_NAME_CHARACTERS, empty=False)


def model_name(value: object) -> str:
    """Check the name of a registered model: no ``/`` or ``:``, and not ``.`` or ``..``."""
    name = text(value, "The model name", limit=limits.MODEL_NAME_CHARACTERS, empty=False)
    if "/" in name or ":" in name:
        raise InvalidInputError(
            f"The model name {_shown(name)} must not hold '/' or ':' (MLflow's rule)."
        )
    if _not_a_plain_path(name):
        raise InvalidInputError(f"The model name {_shown(name)} must not read as a path.")
    return name


def alias(value: object) -> str:
    """Check an alias: letters, digits, underscores and dashes; not ``latest``, not ``v1``."""
    name = text(value, "The alias", limit=limits.ALIAS_CHARACTERS, empty=False)
    if not _ALIAS.fullmatch(name):
        raise InvalidInputError(
            f"The alias {_shown(name)} may only hold letters, digits, underscores and dashes."
        )
    if _RESERVED_ALIAS.fullmatch(name):
        raise InvalidInputError(f"The alias {_shown(name)} is reserved by MLflow.")
    return name


def run_id(value: object) -> str:
    """Check the form of a run id."""
    checked = text(value, "The run id", empty=False)
    if not _RUN_ID.fullmatch(checked):
        raise InvalidInputError(
            f"{_shown(checked)} is not a run id: letters, digits, underscores and dashes, at most "
            "256, beginning with a letter or digit."
        )
    return checked


def version(value: object) -> str:
    """Check a model version: a positive whole number, or the provisional id of a waiting one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    checked = text(value, "The model version", empty=False)
    if not re.fullmatch(r"[1-9][0-9]*|hokusai-version-[0-9a-f]{32}", checked):
        raise InvalidInputError(
            f"{_shown(checked)} is not a model version: a number from 1, or a waiting version's id."
        )
    return checked


def artifact_path(value: object, what: str = "The artifact path") -> str:
    """Check a path to store a file under: a plain one, that every store keeps as it is given."""
    path = plain_path(value, what)
    for part in path.split("/"):
        if (size := len(part.encode())) > limits.ARTIFACT_PART_BYTES:
            raise InvalidInputError(
                f"The part {_shown(part)} of {_shown(path)} has {size} bytes of UTF-8; file systems "
                f"allow {limits.ARTIFACT_PART_BYTES} between two slashes. Shorten it."
            )
        if "#" in part or _CONTROL.search(part) or _changed_in_an_address(part):
            raise InvalidInputError(
                f"{what} {_shown(path)} must not hold '#', a control character, '%' before two "
                "hexadecimal digits, or a part that ends with '?' or ';': MLflow's server refuses it, "
                "or stores the file under another name. Rename it."
            )
    return path


def plain_path(value: object, what: str = "The artifact path") -> str:
    """Check a path inside a run's artifacts: relative, with plain parts, no way out of the root."""
    path = text(value, what, limit=limits.ARTIFACT_PATH_CHARACTERS, empty=False)
    if _not_a_plain_path(path) or "\\" in path or re.match(r"[A-Za-z]:", path):
        raise InvalidInputError(
            f"{what} {_shown(path)} must be relative with '/' between plain parts: no leading or "
            "trailing slash, no backslash, drive, empty, '.' or '..' part."
        )
    return path


def seconds(value: object, what: str) -> float:
    """Check a span of time in seconds; infinity is one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        raise InvalidInputError(f"{what} must be a number of seconds, not {_shown(value)}.")
    return float(value)


def _integer(value: Any, what: str) -> int:
    if isinstance(value, bool | str | bytes):
        raise InvalidInputError(f"{what} must be a whole number, not {_kind(value)}.")
    try:
        if not isinstance(value, numbers.Number) and hasattr(value, "item"):
            value = value.item()
        whole = int(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as cause:
        raise InvalidInputError(f"{what} must be a whole number, not {_kind(value)}.") from cause
    if whole != value:
        raise InvalidInputError(f"{what} must be a whole number, not {value!r}.")
    return whole


def _as_text(value: Any, what: str) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except Exception as cause:
        raise InvalidInputError(f"The value of {what} cannot be turned into text.") from cause


def _not_a_plain_path(path: str) -> bool:
    normal = posixpath.normpath(path)
    return normal != path or normal == "." or normal.startswith(("..", "/"))


def _changed_in_an_address(part: str) -> bool:
    """Say whether MLflow's server, which decodes a path until it stays the same, reads another one.

    A part may be the last one: of a file to store, or of a folder to list.
    """
    whole = f"root/{part}"
    return unquote(whole) != whole or urlunparse(urlparse(whole)) != whole


def _kind(value: object) -> str:
    if value is None:
        return "None"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."  # noqa: PLR2004 - one line
