"""Registry backends that each break one clause. Each is the mock, or its store, with one defect."""

import fnmatch
from contextlib import suppress

from hokusai_core.entities import BackendHealth, ModelVersion, Page, Receipt, RegisteredModel
from hokusai_core.errors import ModelNotFoundError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.markers import hookimpl
from hokusai_core.memory import MemoryStore
from hokusai_core.operations import (
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
)
from hokusai_core.queries import ModelQuery, VersionQuery
from hokusai_core.testing import MockBackend
from tests.kit.broken import breaks


@breaks("registry.check")
class SaysNothing(MockBackend):
    @hookimpl
    def registry_check(self, deadline):
        return BackendHealth(description="")


@breaks("registry.model-once")
class CreatesAModelAnew(MemoryStore):
    def create_registered_model(self, operation: CreateRegisteredModel) -> Receipt:
        self._models.pop(operation.name, None)
        return super().create_registered_model(operation)


@breaks("registry.model-once")
class ForgetsDescriptions(MemoryStore):
    def create_registered_model(self, operation: CreateRegisteredModel) -> Receipt:
        return super().create_registered_model(operation.model_copy(update={"description": ""}))


@breaks("registry.unknown")
class PointsAliasesToNothing(MemoryStore):
    def set_alias(self, operation: SetAlias) -> Receipt:
        self._models[operation.name].aliases[operation.alias] = operation.version
        return Receipt()


@breaks("registry.unknown")
class SwallowsErrors(MemoryStore):
    def set_model_version_tags(self, operation: SetModelVersionTags) -> Receipt:
        with suppress(ModelNotFoundError):
            return super().set_model_version_tags(operation)
        return Receipt()


@breaks("registry.version-whole")
class ForgetsTheRun(MemoryStore):
    def create_model_version(self, operation: CreateModelVersion) -> Receipt:
        return super().create_model_version(operation.model_copy(update={"run_id": None}))


@breaks("registry.version-whole")
class ForgetsFirstTags(MemoryStore):
    def create_model_version(self, operation: CreateModelVersion) -> Receipt:
        return super().create_model_version(operation.model_copy(update={"tags": {}}))


@breaks("registry.find-version")
class FindsNoVersion(MemoryStore):
    def find_versions(self, op_id: str, name: str = "") -> tuple[ModelVersion, ...]:
        return ()


@breaks("registry.find-version")
class FindsTheNewestFirst(MemoryStore):
    def find_versions(self, op_id: str, name: str = "") -> tuple[ModelVersion, ...]:
        return super().find_versions(op_id, name)[::-1]


@breaks("registry.tags")
class KeepsTheFirstTag(MemoryStore):
    def set_model_version_tags(self, operation: SetModelVersionTags) -> Receipt:
        old = self.get_model_version(operation.name, operation.version).tags
        return super().set_model_version_tags(
            operation.model_copy(update={"tags": operation.tags | old})
        )


@breaks("registry.tags")
class KeepsOneTagOfAModel(MemoryStore):
    def set_registered_model_tags(self, operation: SetRegisteredModelTags) -> Receipt:
        tags = dict(list(operation.tags.items())[-1:])
        return super().set_registered_model_tags(operation.model_copy(update={"tags": tags}))


@breaks("registry.search-by-tags")
class TakesValuesForPatterns(MemoryStore):
    def search_versions(self, query: VersionQuery) -> Page[ModelVersion]:
        page = super().search_versions(query.model_copy(update={"tags": {}}))
        found = tuple(
            version
            for version in page.items
            if all(
                fnmatch.fnmatch(version.tags.get(key, ""), value.replace("%", "*"))
                for key, value in query.tags.items()
            )
        )
        return page.model_copy(update={"items": found})


@breaks("registry.search-by-tags")
class JoinsTagsByOr(MemoryStore):
    def search_versions(self, query: VersionQuery) -> Page[ModelVersion]:
        page = super().search_versions(query.model_copy(update={"tags": {}}))
        found = tuple(
            version
            for version in page.items
            if not query.tags or query.tags.items() & version.tags.items()
        )
        return page.model_copy(update={"items": found})


@breaks("registry.version-pages")
class ListsTheOldestFirst(MemoryStore):
    def search_versions(self, query: VersionQuery) -> Page[ModelVersion]:
        page = super().search_versions(query)
        return page.model_copy(update={"items": page.items[::-1]})


@breaks("registry.version-pages")
class HasOnePage(MemoryStore):
    def search_versions(self, query: VersionQuery) -> Page[ModelVersion]:
        return super().search_versions(query).model_copy(update={"next_page_token": ""})


@breaks("registry.deletion")
class ReusesAVersionNumber(MemoryStore):
    def delete_model_version(self, operation: DeleteModelVersion) -> Receipt:
        receipt = super().delete_model_version(operation)
        record = self._models[operation.name]
        record.last_version = max(map(int, record.versions), default=0)
        return receipt


@breaks("registry.deletion")
class RefusesASecondDeletion(MemoryStore):
    def delete_model_version(self, operation: DeleteModelVersion) -> Receipt:
        self.get_model_version(operation.name, operation.version)
        return super().delete_model_version(operation)


@breaks("registry.deletion")
class DeletesTheWrongVersion(MemoryStore):
    def delete_model_version(self, operation: DeleteModelVersion) -> Receipt:
        super().delete_model_version(operation)
        return super().delete_model_version(operation.model_copy(update={"version": "1"}))


@breaks("registry.alias")
class KeepsTheOldAlias(MemoryStore):
    def set_alias(self, operation: SetAlias) -> Receipt:
        if operation.alias in self._models[operation.name].aliases:
            return Receipt()
        return super().set_alias(operation)


@breaks("registry.alias")
class FindsVersionsWithoutAliases(MemoryStore):
    def search_versions(self, query: VersionQuery) -> Page[ModelVersion]:
        page = super().search_versions(query)
        bare = tuple(version.model_copy(update={"aliases": ()}) for version in page.items)
        return page.model_copy(update={"items": bare})


@breaks("registry.alias")
class RefusesASecondDeletionOfAnAlias(MemoryStore):
    def delete_alias(self, operation: DeleteAlias) -> Receipt:
        self.version_by_alias(operation.name, operation.alias)
        return super().delete_alias(operation)


@breaks("registry.model-pages")
class IgnoresThePrefix(MemoryStore):
    def search_registered_models(self, query: ModelQuery) -> Page[RegisteredModel]:
        return super().search_registered_models(query.model_copy(update={"prefix": ""}))


@breaks("registry.model-pages")
class ListsBackwards(MemoryStore):
    def search_registered_models(self, query: ModelQuery) -> Page[RegisteredModel]:
        page = super().search_registered_models(query)
        return page.model_copy(update={"items": page.items[::-1]})


@breaks("registry.numbers")
class CountsAcrossModels(MemoryStore):
    def create_model_version(self, operation: CreateModelVersion) -> Receipt:
        last = max(record.last_version for record in self._models.values())
        self._model(operation.name).last_version = last
        return super().create_model_version(operation)


@breaks("registry.longest-values")
class AcceptsAnOverlongTag(MemoryStore):
    """Accepts what its column is too short for, and cuts it."""

    def create_model_version(self, operation: CreateModelVersion) -> Receipt:
        tags = {key: value[:5000] for key, value in operation.tags.items()}
        return super().create_model_version(operation.model_copy(update={"tags": tags}))


@breaks("registry.versions-apart")
class TagsEveryVersion(MemoryStore):
    def set_model_version_tags(self, operation: SetModelVersionTags) -> Receipt:
        for number in self._models[operation.name].versions:
            super().set_model_version_tags(operation.model_copy(update={"version": number}))
        return Receipt()


@breaks("registry.read-after-write")
class AnswersBeforeItStores(MemoryStore):
    def get_model_version(self, name: str, version: str) -> ModelVersion:
        found = super().get_model_version(name, version)
        return found.model_copy(update={"tags": {OP_ID_TAG: found.tags[OP_ID_TAG]}})


@breaks("registry.download")
class DownloadsNothing(MockBackend):
    @hookimpl
    def registry_download_model(self, name, version, destination, deadline):
        destination.mkdir()
        return destination


@breaks("registry.cut-creation")
class CreatesInTwoSteps(MockBackend):
    """The version first, its ``op_id`` and tags in a second request."""

    @hookimpl
    def registry_create_model_version(self, operation, deadline):
        receipt = self.store.create_model_version(operation.model_copy(update={"tags": {}}))
        record = self.store._models[operation.name]
        bare = record.versions[receipt.primary_id].model_copy(update={"tags": {}})
        record.versions[receipt.primary_id] = bare

        def add_tags() -> Receipt:
            tags = operation.tags | {OP_ID_TAG: operation.op_id}
            whole = bare.model_copy(update={"tags": tags})
            record.versions[receipt.primary_id] = whole
            return receipt

        return self.write(operation.hook, operation.kind, operation.op_id, add_tags)


@breaks("registry.cut-creation")
class TagsLater(MockBackend):
    """The version with its ``op_id`` first, the tags in a second request."""

    @hookimpl
    def registry_create_model_version(self, operation, deadline):
        receipt = self.store.create_model_version(operation.model_copy(update={"tags": {}}))

        def add_tags() -> Receipt:
            tags = SetModelVersionTags(
                name=operation.name, version=receipt.primary_id, tags=operation.tags
            )
            self.store.set_model_version_tags(tags)
            return receipt

        return self.write(operation.hook, operation.kind, operation.op_id, add_tags)
