"""Model objects as older Hokusai code has them: they tell an id and metrics, and may hold no model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hokusai_core import model_tags, validation
from hokusai_core.errors import InvalidInputError

METADATA_FILE = "hokusai_model.json"
"""Name of the file that describes a metadata object with no model of its own."""


def is_metadata_object(model: object) -> bool:
    """Say whether this is a Hokusai-style model: it has a ``model_id`` and tells its metrics."""
    return hasattr(model, "model_id") and callable(getattr(model, "get_metrics", None))


def own_metrics(model: Any) -> dict[str, Any]:
    """Give the metrics that a Hokusai-style model object tells; {} for any other model.

    Raises:
        InvalidInputError: It tells anything but a dict, or None for none.
    """
    if not is_metadata_object(model):
        return {}
    what = f"What get_metrics() of a {type(model).__name__} gives"
    return dict(validation.mapping(model.get_metrics(), what))


def numeric_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Give those of an object's metrics that a run can have: single numbers.

    The others, such as a dict for each class, are kept as JSON only.

    Raises:
        InvalidInputError: The name of a number is none that a metric may have.
    """
    found: dict[str, float] = {}
    for name, told in metrics.items():
        try:
            value = validation.metric_value(told, str(name))
        except InvalidInputError:
            continue
        found[validation.key(name, "metric")] = value
    return found


def write_metadata(model: Any, folder: Path) -> None:
    """Write a new folder that describes a metadata object.

    Raises:
        InvalidInputError: Its metrics have no JSON form.
    """
    metrics = own_metrics(model)
    told = json.loads(model_tags.json_tag(metrics, "metrics"))
    description = {
        "model_id": "" if model.model_id is None else str(model.model_id),
        "version": str(getattr(model, "version", "") or ""),
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "metrics": told | numeric_metrics(metrics),
    }
    folder.mkdir(parents=True)
    (folder / METADATA_FILE).write_text(json.dumps(description, indent=2), encoding="utf-8")


def id_in(folder: Path) -> str | None:
    """Give the ``model_id`` that a folder's description names; None where it has no description."""
    try:
        told = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(told.get("model_id") or "") if isinstance(told, dict) else None
