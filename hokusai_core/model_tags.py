"""The tags in which a registration is kept on a model version, under the names that Hokusai uses."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from hokusai_core import validation
from hokusai_core.errors import InvalidInputError, InvalidTagsError

MODEL_ID = "model_id"
"""Hokusai's own id of a model; unique among versions."""
BASELINE_ID = "baseline_id"
TOKEN_ID = "hokusai_token_id"
METRIC = "benchmark_metric"
BASELINE_VALUE = "benchmark_value"
STATUS = "hokusai_status"
PROPOSAL = "hokusai_proposal_identifier"
RUN_ID = "mlflow_run_id"
LIFECYCLE_STAGE = "lifecycle_stage"
"""``Production`` or ``Archived``."""

PRODUCTION_ALIAS = "production"
REQUIRED_TOKEN_TAGS = (TOKEN_ID, METRIC, BASELINE_VALUE)
"""What makes a version a tokenized model."""

_TOKEN_CHARACTERS = 64
_TOKEN = re.compile(r"[A-Za-z0-9-]+")


def json_tag(value: Any, what: str) -> str:
    """Write a mapping as the JSON text of a tag; numpy values become plain ones.

    Raises:
        InvalidInputError: It is no mapping, or holds what JSON cannot.
    """
    values = dict(validation.mapping(value, what))
    try:
        return json.dumps(values, default=_plain)
    except (TypeError, ValueError, RecursionError) as cause:
        raise InvalidInputError(f"{what} cannot be written as JSON: {cause}.") from cause


def read_json_tag(text: str | None) -> dict[str, Any]:
    """Read a JSON object from a tag; what is none reads as empty (old data hold anything)."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def validate_token_id(token_id: Any) -> None:
    """Check a token id: letters, digits and inner hyphens, at most 64 characters.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(token_id, str) or not token_id:
        raise InvalidInputError("Invalid token ID: it must be a text, and not empty.")
    if len(token_id) > _TOKEN_CHARACTERS:
        raise InvalidInputError(
            f"Invalid token ID: it has {len(token_id)} characters, too long (max "
            f"{_TOKEN_CHARACTERS})."
        )
    if not _TOKEN.fullmatch(token_id):
        raise InvalidInputError(
            f"Invalid token ID {token_id!r}: it must contain only letters, numbers, and hyphens."
        )
    if token_id.startswith("-") or token_id.endswith("-"):
        raise InvalidInputError(
            f"Invalid token ID {token_id!r}: it cannot start or end with a hyphen."
        )


def normalize_token_id(token_id: Any) -> str:
    """Give a token id as it is stored, in capitals; raises as :func:`validate_token_id`."""
    validate_token_id(token_id)
    return str(token_id).upper()


def validate_hokusai_tags(tags: Any) -> None:
    """Check that tags make a version a tokenized model: token id, metric and numeric value.

    Raises:
        InvalidTagsError: One is missing, is no text, or is wrong.
    """
    if not isinstance(tags, Mapping):
        raise InvalidTagsError(f"The tags must be a dict, not {type(tags).__name__}.")
    for name in REQUIRED_TOKEN_TAGS:
        if name not in tags:
            raise InvalidTagsError(f"Missing required tag: {name}.")
    check_known_tags(tags)


def check_known_tags(tags: Mapping[str, Any]) -> None:
    """Check those of the required tags that are among these; raises InvalidTagsError."""
    for name in REQUIRED_TOKEN_TAGS:
        if name in tags and not (isinstance(tags[name], str) and tags[name].strip()):
            raise InvalidTagsError(f"Tag {name} must be a text, and not empty.")
    if TOKEN_ID in tags:
        try:
            validate_token_id(tags[TOKEN_ID])
        except InvalidInputError as cause:
            raise InvalidTagsError(f"Tag {TOKEN_ID}: {cause}") from cause
    if BASELINE_VALUE in tags and baseline_value_of(tags) is None:
        raise InvalidTagsError(f"{BASELINE_VALUE} must be convertible to a finite float.")


def baseline_value_of(tags: Mapping[str, str]) -> float | None:
    """Read the baseline's value; None where it is missing or no finite number."""
    try:
        value = float(tags.get(BASELINE_VALUE, ""))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
