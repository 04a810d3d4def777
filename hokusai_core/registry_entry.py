"""What a registration returns."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PrivateAttr

from hokusai_core import model_tags, validation
from hokusai_core.entities import ModelVersion, Source, SyncState
from hokusai_core.errors import (
    ConfigurationError,
    DeadLetterError,
    NotDeliveredError,
    TransientError,
)
from hokusai_core.operations import Value

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime

_POLL_SECONDS = 0.05


class EntryOrigin:
    """Where an entry is from, so that it can be looked up again.

    Two are always equal: an entry is its data. A pickled one carries no secrets; where the backend
    was given as an object, it carries nothing, and the entry cannot be looked up again.
    """

    def __init__(self, runtime: "Runtime | None") -> None:
        self.runtime = runtime

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntryOrigin)

    def __hash__(self) -> int:
        return hash(EntryOrigin)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            portable = self.runtime.portable_selection() if self.runtime else None
        except ConfigurationError:
            portable = None
        return _origin_from, (portable,)


def _origin_from(portable: dict[str, Any] | None) -> EntryOrigin:
    from hokusai_core.runtime import Runtime

    return EntryOrigin(Runtime.from_portable(portable) if portable else None)


class ModelRegistryEntry(Value):
    """A registered model as Hokusai sees it; also read as a mapping (``entry["model_id"]``).

    ``model_id`` is Hokusai's own id, ``mlflow_version`` the registry's number: "" while
    ``sync_state`` is ``pending``, because none exists yet. ``name`` and ``registry_version`` name
    the version in the registry, by its provisional id while it waits. ``timestamp`` is ISO 8601.
    ``lifecycle_stage`` is ``Production``, ``Archived`` or "", from the tag of that name or else from
    the stage that older MLflow had. An entry does not change: :meth:`refresh` and :meth:`wait` give
    a new one.
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
    lifecycle_stage: str = ""
    aliases: tuple[str, ...] = ()
    sync_state: SyncState = "delivered"
    source: Source = "primary"

    _origin: EntryOrigin = PrivateAttr(default_factory=lambda: EntryOrigin(None))

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

    def refresh(self) -> Self:
        """Look the entry up again: its real version once it is delivered, its tags as they are now.

        Raises:
            ModelNotFoundError: The version is gone.
            TransientError: The primary is away, and nothing is known of the version without it.
            ConfigurationError: The entry is from another process's mock backend, or from the API.
        """
        runtime = self._origin.runtime
        if runtime is None or not self.registry_version:
            raise ConfigurationError(
                f"This entry of {self.model_id!r} is not connected to a registry; look it up with "
                "ModelRegistry().get_model_by_id()."
            )
        version = runtime.registry.get_version(self.name, self.registry_version)
        return self.from_version(version, runtime)

    def wait(self, timeout: float = 60.0) -> Self:
        """Wait until the version is on the primary, and what was written to it.

        Args:
            timeout: In seconds.

        Returns:
            The entry with its real ``mlflow_version``.

        Raises:
            NotDeliveredError: Time is up; what waits is kept.
            DeadLetterError: The primary refused the version for good.
            InvalidInputError: The timeout is not a number.
        """
        until = time.monotonic() + validation.seconds(timeout, "timeout")
        entry = self
        while not (entry.sync_state == "delivered" and entry.mlflow_version):
            with contextlib.suppress(TransientError):
                entry = entry.refresh()
            if entry.sync_state == "dead":
                raise DeadLetterError(
                    f"The primary refused {self.name!r}, model {self.model_id!r}, for good. It is "
                    "kept in the journal: `hokusai queue list` tells why."
                )
            if entry.sync_state == "pending":
                if time.monotonic() >= until:
                    raise entry._still_waits(timeout)
                time.sleep(_POLL_SECONDS)
        return entry

    def _still_waits(self, timeout: float) -> NotDeliveredError:
        what = f"{self.name!r}, model {self.model_id!r}"
        if self.mlflow_version:
            return NotDeliveredError(
                f"{what}, is on the primary as version {self.mlflow_version}, but a change of it waits "
                f"still after {timeout:g} s. It is kept; deliver it with `hokusai sync`."
            )
        return NotDeliveredError(
            f"{what}, is not on the primary after {timeout:g} s. It is kept; deliver it with "
            "`hokusai sync`."
        )

    @classmethod
    def from_version(cls, version: ModelVersion, runtime: "Runtime | None" = None) -> Self:
        """Read the entry that a model version's tags tell.

        Args:
            version: The version.
            runtime: Where the entry can be looked up again.
        """
        tags = version.tags
        delivered = version.version.isdigit()
        entry = cls(
            model_id=tags.get("model_id", f"{version.name}/{version.version}"),
            model_type=tags.get("model_type", version.name),
            version=tags.get("version", ""),
            is_baseline=tags.get("is_baseline", "").lower() == "true",
            baseline_id=tags.get("baseline_id", ""),
            metrics=model_tags.read_json_tag(tags.get("metrics")),
            delta_metrics=model_tags.read_json_tag(tags.get("delta_metrics")),
            contributor_address=tags.get("contributor_address", ""),
            timestamp=tags.get("timestamp", ""),
            mlflow_version=version.version if delivered else "",
            tags=dict(tags),
            name=version.name,
            registry_version=version.version,
            run_id=version.run_id or "",
            logged_model_id=version.model_id or "",
            lifecycle_stage=tags.get(model_tags.LIFECYCLE_STAGE, version.stage),
            aliases=version.aliases,
            sync_state=version.sync_state,
            source=version.source,
        )
        entry._origin = EntryOrigin(runtime)
        return entry
