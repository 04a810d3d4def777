"""Registered models, versions and aliases in memory, with MLflow's semantics."""

import threading
from dataclasses import dataclass, field

from hokusai_core.entities import ModelVersion, Page, Receipt, RegisteredModel
from hokusai_core.errors import ModelNotFoundError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.memory_listings import page_of, page_offset
from hokusai_core.operations import (
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    now_milliseconds,
)
from hokusai_core.queries import ModelQuery, VersionQuery


@dataclass
class _ModelRecord:
    model: RegisteredModel
    versions: dict[str, ModelVersion] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    last_version: int = 0

    def entity(self) -> RegisteredModel:
        return self.model.model_copy(update={"aliases": dict(sorted(self.aliases.items()))})

    def version(self, number: str) -> ModelVersion:
        aliases = sorted(alias for alias, target in self.aliases.items() if target == number)
        return self.versions[number].model_copy(update={"aliases": tuple(aliases)})


class RegistryTables:
    """The registry half of :class:`~hokusai_core.memory.MemoryStore`; thread-safe.

    Args:
        preserve_ids: Whether a version keeps its provisional id, and a write to something unknown
            makes a bare stub of it instead of raising.

    """

    def __init__(self, *, preserve_ids: bool = False) -> None:
        self._stubs = preserve_ids
        self._models: dict[str, _ModelRecord] = {}
        self._registry_lock = threading.RLock()

    # Writes

    def create_registered_model(self, operation: CreateRegisteredModel) -> Receipt:
        """Get or create the registered model."""
        with self._registry_lock:
            if operation.name in self._models:
                return Receipt(primary_id=operation.name, created=False)
            model = RegisteredModel(
                name=operation.name,
                description=operation.description or "",
                tags=dict(operation.tags),
                creation_timestamp=self._creation_time(operation.created_at),
            )
            self._models[operation.name] = _ModelRecord(model)
            return Receipt(primary_id=operation.name)

    def create_model_version(self, operation: CreateModelVersion) -> Receipt:
        """Create the next version; a repeat makes another one. Numbers are never used again."""
        with self._registry_lock:
            record = self._model(operation.name)
            record.last_version += 1
            number = str(record.last_version)
            if self._stubs and operation.provisional_id:
                number = operation.provisional_id
            record.versions[number] = ModelVersion(
                name=operation.name,
                version=number,
                source_uri=operation.source,
                run_id=operation.run_id,
                model_id=operation.model_id,
                description=operation.description or "",
                tags=operation.tags | {OP_ID_TAG: operation.op_id},
                creation_timestamp=self._creation_time(operation.created_at),
            )
            return Receipt(primary_id=number)

    def set_model_version_tags(self, operation: SetModelVersionTags) -> Receipt:
        """Set tags of a version; ModelNotFoundError where there is none."""
        with self._registry_lock:
            record = self._model(operation.name)
            version = self._version(record, operation.version)
            record.versions[operation.version] = version.model_copy(
                update={"tags": version.tags | operation.tags}
            )
            return Receipt()

    def delete_model_version(self, operation: DeleteModelVersion) -> Receipt:
        """Delete a version and the aliases that point to it; one that is gone is a success."""
        with self._registry_lock:
            record = self._models.get(operation.name)
            if record is not None:
                record.versions.pop(operation.version, None)
                record.aliases = {
                    alias: target
                    for alias, target in record.aliases.items()
                    if target != operation.version
                }
            return Receipt()

    def set_registered_model_tags(self, operation: SetRegisteredModelTags) -> Receipt:
        """Set tags of a registered model; ModelNotFoundError where there is none."""
        with self._registry_lock:
            record = self._model(operation.name)
            record.model = record.model.model_copy(
                update={"tags": record.model.tags | operation.tags}
            )
            return Receipt()

    def set_alias(self, operation: SetAlias) -> Receipt:
        """Let an alias point to a version; ModelNotFoundError where there is none."""
        with self._registry_lock:
            record = self._model(operation.name)
            self._version(record, operation.version)
            record.aliases[operation.alias] = operation.version
            return Receipt()

    def delete_alias(self, operation: DeleteAlias) -> Receipt:
        """Remove an alias; one that is gone is a success."""
        with self._registry_lock:
            record = self._models.get(operation.name)
            if record is not None:
                record.aliases.pop(operation.alias, None)
            return Receipt()

    def seed_registered_model(self, model: RegisteredModel) -> None:
        """Put a registered model there as it is; its aliases may point to versions not seeded."""
        with self._registry_lock:
            record = self._models.setdefault(model.name, _ModelRecord(model))
            record.model = model
            record.aliases.update(model.aliases)

    def seed_model_version(self, version: ModelVersion) -> None:
        """Put a version there as it is, and its registered model as a stub where it is missing."""
        with self._registry_lock:
            stub = _ModelRecord(RegisteredModel(name=version.name))
            record = self._models.setdefault(version.name, stub)
            record.versions[version.version] = version
            record.aliases.update(dict.fromkeys(version.aliases, version.version))
            if version.version.isdigit():
                record.last_version = max(record.last_version, int(version.version))

    # Reads

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Get a registered model with its aliases; raises ModelNotFoundError."""
        with self._registry_lock:
            return self._known_model(name).entity()

    def search_registered_models(self, query: ModelQuery) -> Page[RegisteredModel]:
        """List registered models by name."""
        with self._registry_lock:
            names = sorted(name for name in self._models if name.startswith(query.prefix))
            found = tuple(self._models[name].entity() for name in names)
        return page_of(found, page_offset(query.page_token), query.max_results)

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        """Get a version; raises ModelNotFoundError."""
        with self._registry_lock:
            record = self._known_model(name)
            if version not in record.versions:
                raise _no_version(name, version)
            return record.version(version)

    def version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Get the version that an alias points to; raises ModelNotFoundError."""
        with self._registry_lock:
            target = self._known_model(name).aliases.get(alias)
            if target is None:
                raise ModelNotFoundError(f"Model {name!r} has no alias {alias!r}.")
            return self.get_model_version(name, target)

    def find_versions(self, op_id: str, name: str = "") -> tuple[ModelVersion, ...]:
        """Find the versions of a model ("" for all) with this ``op_id``, lowest first."""
        query = VersionQuery(name=name, tags={OP_ID_TAG: op_id}, max_results=10_000)
        return self.search_versions(query).items[::-1]

    def search_versions(self, query: VersionQuery) -> Page[ModelVersion]:
        """Search versions by model, tags and run, newest first."""
        with self._registry_lock:
            found = [
                record.version(number)
                for record in self._models.values()
                for number in record.versions
            ]
        chosen = [version for version in found if query.matches(version)]
        chosen.sort(key=_age, reverse=True)
        return page_of(tuple(chosen), page_offset(query.page_token), query.max_results)

    def _creation_time(self, created_at: int) -> int:
        return created_at if self._stubs else now_milliseconds()

    def _known_model(self, name: str) -> _ModelRecord:
        if name not in self._models:
            raise ModelNotFoundError(f"Registered model {name!r} does not exist.")
        return self._models[name]

    def _model(self, name: str) -> _ModelRecord:
        if self._stubs and name not in self._models:
            self._models[name] = _ModelRecord(RegisteredModel(name=name))
        return self._known_model(name)

    def _version(self, record: _ModelRecord, number: str) -> ModelVersion:
        if number not in record.versions:
            if not self._stubs:
                raise _no_version(record.model.name, number)
            record.versions[number] = ModelVersion(name=record.model.name, version=number)
        return record.versions[number]


def _age(version: ModelVersion) -> tuple[int, int]:
    number = int(version.version) if version.version.isdigit() else 0
    return (version.creation_timestamp or 0, number)


def _no_version(name: str, version: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"Model {name!r} has no version {version!r}.")
