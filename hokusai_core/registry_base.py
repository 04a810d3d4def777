"""What the parts of :class:`~hokusai_core.registry.ModelRegistry` share."""

from typing import TYPE_CHECKING

from hokusai_core.entities import ModelVersion
from hokusai_core.model_sources import ModelSources
from hokusai_core.registry_entry import ModelRegistryEntry

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime


class RegistryPart:
    """A part of the registry's interface; the facade gives it runtime and sources."""

    runtime: "Runtime"
    _sources: ModelSources

    def _entry(self, version: ModelVersion) -> ModelRegistryEntry:
        return ModelRegistryEntry.from_version(version, self.runtime)
