"""Registered models, versions and aliases.

A model is a file ``models/<digest of its name>.jsonl``; each line is one write to it.
"""

import hashlib
import shutil
from pathlib import Path

from hokusai_backend_files.lines import Folder, Line
from hokusai_core.backend_tools import OP_ID_TAG, Deadline, hookimpl, page_of, page_offset
from hokusai_core.entities import BackendHealth, ModelVersion, Page, Receipt, RegisteredModel
from hokusai_core.errors import ModelNotFoundError, NotFoundError
from hokusai_core.operations import (
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    Operation,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    load_operation,
)
from hokusai_core.queries import ModelQuery, VersionQuery


class Model:
    """One registered model, as its lines tell it."""

    def __init__(self, lines: list[Line]) -> None:
        self.versions: dict[str, ModelVersion] = {}
        self.aliases: dict[str, str] = {}
        self.made = 0
        for line in lines:
            self._play(load_operation(line["is"]))

    @property
    def entity(self) -> RegisteredModel:
        """The model with its aliases."""
        return self._model.model_copy(update={"aliases": dict(self.aliases)})

    def version(self, number: str) -> ModelVersion:
        """A version with its aliases; raises ModelNotFoundError."""
        if number not in self.versions:
            raise ModelNotFoundError(f"Model {self._model.name!r} has no version {number!r}.")
        aliases = sorted(alias for alias, target in self.aliases.items() if target == number)
        return self.versions[number].model_copy(update={"aliases": tuple(aliases)})

    def _play(self, operation: Operation) -> None:
        if isinstance(operation, CreateRegisteredModel):
            self._model = RegisteredModel(
                name=operation.name,
                description=operation.description or "",
                tags=operation.tags,
                creation_timestamp=operation.created_at,
            )
        elif isinstance(operation, CreateModelVersion):
            self.made += 1
            self.versions[str(self.made)] = ModelVersion(
                name=operation.name,
                version=str(self.made),
                source_uri=operation.source,
                run_id=operation.run_id,
                model_id=operation.model_id,
                description=operation.description or "",
                tags=operation.tags | {OP_ID_TAG: operation.op_id},
                creation_timestamp=operation.created_at,
            )
        elif isinstance(operation, SetModelVersionTags):
            version = self.versions[operation.version]
            self.versions[operation.version] = version.model_copy(
                update={"tags": version.tags | operation.tags}
            )
        elif isinstance(operation, SetRegisteredModelTags):
            tags = self._model.tags | operation.tags
            self._model = self._model.model_copy(update={"tags": tags})
        elif isinstance(operation, SetAlias):
            self.aliases[operation.alias] = operation.version
        elif isinstance(operation, DeleteAlias):
            self.aliases.pop(operation.alias, None)
        elif isinstance(operation, DeleteModelVersion):
            self.versions.pop(operation.version, None)
            kept = self.aliases.items()
            self.aliases = {name: to for name, to in kept if to != operation.version}


class FilesRegistry:
    """The specification ``RegistryBackend`` over a folder."""

    folder: Folder

    @hookimpl
    def registry_check(self, deadline: Deadline) -> BackendHealth:
        with self.folder.writing(deadline):
            return BackendHealth(description=f"files in {self.folder.root}")

    @hookimpl
    def registry_create_registered_model(
        self, operation: CreateRegisteredModel, deadline: Deadline
    ) -> Receipt:
        with self.folder.writing(deadline):
            known = bool(self.folder.read(self._model_file(operation.name)))
            if not known:
                self._append(operation.name, operation)
            return Receipt(primary_id=operation.name, created=not known)

    @hookimpl
    def registry_create_model_version(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> Receipt:
        with self.folder.writing(deadline):
            model = self._model(operation.name)
            for version in _of_operation(model, operation.op_id):
                return Receipt(primary_id=version.version, created=False)
            self._append(operation.name, operation)
            return Receipt(primary_id=str(model.made + 1))

    @hookimpl
    def registry_set_model_version_tags(
        self, operation: SetModelVersionTags, deadline: Deadline
    ) -> Receipt:
        with self.folder.writing(deadline):
            self._model(operation.name).version(operation.version)
            return self._append(operation.name, operation)

    @hookimpl
    def registry_delete_model_version(
        self, operation: DeleteModelVersion, deadline: Deadline
    ) -> Receipt:
        with self.folder.writing(deadline):
            if not self.folder.read(self._model_file(operation.name)):
                return Receipt()
            return self._append(operation.name, operation)

    @hookimpl
    def registry_set_registered_model_tags(
        self, operation: SetRegisteredModelTags, deadline: Deadline
    ) -> Receipt:
        with self.folder.writing(deadline):
            self._model(operation.name)
            return self._append(operation.name, operation)

    @hookimpl
    def registry_set_alias(self, operation: SetAlias, deadline: Deadline) -> Receipt:
        with self.folder.writing(deadline):
            self._model(operation.name).version(operation.version)
            return self._append(operation.name, operation)

    @hookimpl
    def registry_delete_alias(self, operation: DeleteAlias, deadline: Deadline) -> Receipt:
        with self.folder.writing(deadline):
            if not self.folder.read(self._model_file(operation.name)):
                return Receipt()
            return self._append(operation.name, operation)

    @hookimpl
    def registry_find_versions(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> tuple[ModelVersion, ...]:
        lines = self.folder.read(self._model_file(operation.name))
        return _of_operation(Model(lines), operation.op_id) if lines else ()

    @hookimpl
    def registry_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        return tuple(
            version.version for model in self._models() for version in _of_operation(model, op_id)
        )

    @hookimpl
    def registry_get_registered_model(self, name: str, deadline: Deadline) -> RegisteredModel:
        return self._model(name).entity

    @hookimpl
    def registry_search_registered_models(
        self, query: ModelQuery, deadline: Deadline
    ) -> Page[RegisteredModel]:
        models = [model.entity for model in self._models()]
        found = sorted(
            (model for model in models if model.name.startswith(query.prefix)),
            key=lambda model: model.name,
        )
        return page_of(found, page_offset(query.page_token), query.max_results)

    @hookimpl
    def registry_get_model_version(
        self, name: str, version: str, deadline: Deadline
    ) -> ModelVersion:
        return self._model(name).version(version)

    @hookimpl
    def registry_get_version_by_alias(
        self, name: str, alias: str, deadline: Deadline
    ) -> ModelVersion:
        model = self._model(name)
        if alias not in model.aliases:
            raise ModelNotFoundError(f"Model {name!r} has no alias {alias!r}.")
        return model.version(model.aliases[alias])

    @hookimpl
    def registry_search_versions(
        self, query: VersionQuery, deadline: Deadline
    ) -> Page[ModelVersion]:
        found = [
            model.version(number)
            for model in self._models()
            if query.name in ("", model.entity.name)
            for number, version in model.versions.items()
            if query.run_id in ("", version.run_id) and query.tags.items() <= version.tags.items()
        ]
        found.sort(key=lambda each: (each.creation_timestamp or 0, int(each.version)), reverse=True)
        return page_of(found, page_offset(query.page_token), query.max_results)

    @hookimpl
    def registry_download_model(
        self, name: str, version: str, destination: Path, deadline: Deadline
    ) -> Path:
        source = self._model(name).version(version).source_uri
        scheme, _, path = source.partition(":/")
        run_id, _, below = path.partition("/")
        files = self.folder.root / "runs" / run_id / "artifacts" / below
        if scheme != "runs" or not run_id.isalnum() or not files.is_dir():
            raise NotFoundError(f"The files of {source!r} are not kept here.")
        shutil.copytree(files, destination, dirs_exist_ok=True)
        return destination

    def _model_file(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self.folder.root / "models" / f"{digest}.jsonl"

    def _append(self, name: str, operation: Operation) -> Receipt:
        line = {"kind": operation.kind, "is": operation.model_dump_json()}
        self.folder.append(self._model_file(name), line)
        return Receipt()

    def _model(self, name: str) -> Model:
        lines = self.folder.read(self._model_file(name))
        if not lines:
            raise ModelNotFoundError(f"There is no registered model {name!r}.")
        return Model(lines)

    def _models(self) -> list[Model]:
        files = sorted(self.folder.root.glob("models/*.jsonl"))
        return [Model(lines) for path in files if (lines := self.folder.read(path))]


def _of_operation(model: Model, op_id: str) -> tuple[ModelVersion, ...]:
    return tuple(
        model.version(number)
        for number, version in model.versions.items()
        if version.tags[OP_ID_TAG] == op_id
    )
