"""What a registration returns."""

import json
from collections.abc import Iterator
from typing import Any, Self

from pydantic import Field

from hokusai_core.entities import ModelVersion, Source, SyncState
from hokusai_core.operations import Value


class ModelRegistryEntry(Value):
    """A registered model as Hokusai sees it; also read as a mapping (``entry["model_id"]``).

    ``model_id`` is Hokusai's own id, ``mlflow_version`` the registry's number: "" while
    ``sync_state`` is ``pending``, because none exists yet. ``name`` and ``registry_version`` name
    the version in the registry, by its provisional id while it waits. ``timestamp`` is ISO 8601.
    """

    model_id: str
    model_type: str
    version: str = ""
    is_baseline: bool = False
    baseline_id: str = ""
    metrics: dict[str, Any] = {}
    delta_metrics: dict[str, Any] = {}
    contributor_address: str = ""
    timestamp: str = ""
    mlflow_version: str = ""
    tags: dict[str, str] = {}
    name: str = ""
    registry_version: str = Field(default="", repr=False)
    run_id: str = ""
    logged_model_id: str = ""
    sync_state: SyncState = "delivered"
    source: Source = "primary"

    def __getitem__(self, key: str) -> Any:
        if key in type(self).model_fields:
            return getattr(self, key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return key in type(self).model_fields

    def __len__(self) -> int:
        return len(type(self).model_fields)

    def keys(self) -> Iterator[str]:
        """The names of the fields, as of a mapping."""
        return iter(type(self).model_fields)

    def get(self, key: str, default: Any = None) -> Any:
        """Get a field's value, or the default for an unknown name."""
        return getattr(self, key) if key in type(self).model_fields else default

    @property
    def model_uri(self) -> str:
        """URI that :meth:`ModelRegistry.load_model` loads, also while the entry waits."""
        return f"models:/{self.name}/{self.registry_version}"

    @classmethod
    def from_version(cls, version: ModelVersion) -> Self:
        """Read the entry that a model version's tags tell."""
        tags = version.tags
        delivered = version.version.isdigit()
        return cls(
            model_id=tags.get("model_id", f"{version.name}/{version.version}"),
            model_type=tags.get("model_type", version.name),
            version=tags.get("version", ""),
            is_baseline=tags.get("is_baseline", "").lower() == "true",
            baseline_id=tags.get("baseline_id", ""),
            metrics=_mapping(tags.get("metrics")),
            delta_metrics=_mapping(tags.get("delta_metrics")),
            contributor_address=tags.get("contributor_address", ""),
            timestamp=tags.get("timestamp", ""),
            mlflow_version=version.version if delivered else "",
            tags=dict(tags),
            name=version.name,
            registry_version=version.version,
            run_id=version.run_id or "",
            logged_model_id=version.model_id or "",
            sync_state=version.sync_state,
            source=version.source,
        )


def _mapping(text: str | None) -> dict[str, Any]:
    """Read a JSON object from a tag; what is none reads as empty (old data hold anything)."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
