"""Reads of the model registry: the primary's answer with what waits laid over it, or without it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hokusai_core.entities import ModelVersion, Page, RegisteredModel
from hokusai_core.errors import ModelNotFoundError, NotFoundError, TransientError
from hokusai_core.journal import QueuedOperation
from hokusai_core.operations import (
    AliasOperation,
    CreateModelVersion,
    RegistryOperation,
    SetModelVersionTags,
)
from hokusai_core.overlay import overlay_registered_model, overlay_version
from hokusai_core.queries import ModelQuery, VersionQuery
from hokusai_core.reading import KEPT, WAITING, Sources, operations_of

T = TypeVar("T")

_REGISTRY_KINDS = (
    "create_registered_model",
    "create_model_version",
    "set_model_version_tags",
    "delete_model_version",
    "set_registered_model_tags",
    "set_alias",
    "delete_alias",
)


class RegistryReader:
    """Answers questions about registered models and their versions."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Get a registered model with its aliases, which may point to versions that wait.

        Raises:
            ModelNotFoundError: Nobody knows it.
            TransientError: The primary is away, and nothing is known without it.
        """
        base, failure = self._try(
            lambda: self._sources.ask(
                lambda backend: backend.registry.registry_get_registered_model(
                    name, self._sources.deadline()
                )
            )
        )
        entries = self._entries(name, everything=base is None)
        if base is None and not entries:
            raise failure or ModelNotFoundError(f"Model not found: {name}.")
        return overlay_registered_model(base, operations_of(entries), name)

    def known_alias(self, name: str, alias: str) -> str | None:
        """Give the version that an alias points to by what the journal knows: "" for none.

        None where the journal knows nothing of the alias. The primary is not asked.
        """
        entries = self._entries(name, everything=True)
        model = overlay_registered_model(None, operations_of(entries), name)
        if alias in model.aliases:
            version = model.aliases[alias]
            return self._sources.ids.primary_id(version) or version
        mentions = any(
            isinstance(operation, AliasOperation) and operation.alias == alias
            for operation in operations_of(entries)
        )
        creation_waits = any(
            entry.kind == "create_registered_model" and entry.state == "waiting"
            for entry in entries
        )
        return "" if mentions or creation_waits else None

    def get_version(self, name: str, version: str) -> ModelVersion:
        """Get a version by its number or its provisional id.

        Raises:
            ModelNotFoundError: Nobody knows it, or its deletion waits.
            TransientError: The primary is away, and nothing is known without it.
        """
        number, _ = self._sources.names(version)
        base: ModelVersion | None = None
        failure: Exception | None = None
        if number:
            base, failure = self._try(
                lambda: self._sources.ask(
                    lambda backend: backend.registry.registry_get_model_version(
                        name, number, self._sources.deadline()
                    )
                )
            )
        entries = self._entries(name, everything=base is None)
        creation = _creation_of(entries, version, number)
        names = {version, number or version}
        if creation and creation.operation:
            names |= {creation.primary_id, creation.operation.provisional_id or ""}
        ids = frozenset(names - {""})
        if base is None and creation is None:
            raise failure or ModelNotFoundError(f"Model not found: {name}, version {version}.")
        return self._overlaid(base, entries, name, ids, creation)

    def get_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Get the version that an alias points to.

        Raises:
            ModelNotFoundError: There is no such model or alias.
            TransientError: The primary is away, and nothing is known without it.
        """
        version = self.get_registered_model(name).aliases.get(alias)
        if version is None:
            raise ModelNotFoundError(f"Model not found: {name} has no alias {alias!r}.")
        return self.get_version(name, version)

    def search_versions(self, query: VersionQuery) -> tuple[ModelVersion, ...]:
        """Search versions, with those that wait; newest first.

        Raises:
            TransientError: The primary is away, and there is no journal to answer from.
        """
        try:
            found = list(
                self._pages(
                    query.max_results,
                    lambda token: self._sources.ask(
                        lambda backend: backend.registry.registry_search_versions(
                            query.model_copy(update={"page_token": token}),
                            self._sources.deadline(),
                        )
                    ),
                )
            )
            away = False
        except TransientError:
            if self._sources.fallback is None:
                raise
            found, away = [], True
        entries = self._entries(query.name, everything=away)
        known = {(version.name, version.version): version for version in found}
        for entry in entries:
            operation = entry.operation
            if isinstance(operation, CreateModelVersion | SetModelVersionTags):
                version = self._found_waiting(operation, entry, entries, known)
                if version:
                    known[version.name, version.version] = version
        matching = [version for version in known.values() if _matches(version, query)]
        matching.sort(key=_age, reverse=True)
        return tuple(matching[: query.max_results])

    def list_registered_models(self, query: ModelQuery) -> tuple[RegisteredModel, ...]:
        """List registered models by name, with those that wait.

        Raises:
            TransientError: The primary is away, and there is no journal to answer from.
        """
        try:
            found = {
                model.name: model
                for model in self._pages(
                    query.max_results,
                    lambda token: self._sources.ask(
                        lambda backend: backend.registry.registry_search_registered_models(
                            query.model_copy(update={"page_token": token}),
                            self._sources.deadline(),
                        )
                    ),
                )
            }
            away = False
        except TransientError:
            if self._sources.fallback is None:
                raise
            found, away = {}, True
        entries = self._entries("", everything=away)
        operations = [
            operation
            for operation in operations_of(entries)
            if isinstance(operation, RegistryOperation)
        ]
        for name in {operation.name for operation in operations}:
            if name in found or name.startswith(query.prefix):
                found[name] = overlay_registered_model(found.get(name), operations, name)
        return tuple(found[name] for name in sorted(found))[: query.max_results]

    def download_model(self, name: str, version: str, destination: Path) -> Path:
        """Download a delivered version's files into a folder."""
        return self._sources.ask(
            lambda backend: backend.registry.registry_download_model(
                name, version, destination, self._sources.idle_deadline()
            ),
            artifacts=True,
        )

    def _found_waiting(
        self,
        operation: CreateModelVersion | SetModelVersionTags,
        entry: QueuedOperation,
        entries: Sequence[QueuedOperation],
        known: dict[tuple[str, str], ModelVersion],
    ) -> ModelVersion | None:
        if isinstance(operation, CreateModelVersion):
            ids = frozenset(filter(None, (operation.provisional_id, entry.primary_id)))
            base = known.get((operation.name, entry.primary_id))
            return self._overlay(base, entries, operation.name, ids, entry)
        base = known.get((operation.name, operation.version))
        if base is None:
            return None
        return self._overlay(base, entries, operation.name, frozenset({base.version}), None)

    def _overlaid(
        self,
        base: ModelVersion | None,
        entries: Sequence[QueuedOperation],
        name: str,
        ids: frozenset[str],
        creation: QueuedOperation | None,
    ) -> ModelVersion:
        found = self._overlay(base, entries, name, ids, creation)
        if found is None:
            raise ModelNotFoundError(
                f"Model not found: the deletion of {name}, version {min(ids)}, waits."
            )
        return found

    def _overlay(
        self,
        base: ModelVersion | None,
        entries: Sequence[QueuedOperation],
        name: str,
        ids: frozenset[str],
        creation: QueuedOperation | None,
    ) -> ModelVersion | None:
        relevant = entries if base is None else [e for e in entries if e.state == "waiting"]
        found = overlay_version(base, operations_of(relevant), name, ids)
        if found is None:
            return None
        changes: dict[str, object] = {}
        if creation is not None and creation.state != "waiting":
            changes["sync_state"] = "dead" if creation.state == "dead" else "delivered"
            if creation.primary_id:
                changes["version"] = creation.primary_id
        return found.model_copy(update=changes)

    def _entries(self, name: str, *, everything: bool) -> tuple[QueuedOperation, ...]:
        entries = self._sources.entries(
            kinds=_REGISTRY_KINDS, states=KEPT if everything else WAITING
        )
        return tuple(
            entry
            for entry in entries
            if not name
            or (isinstance(entry.operation, RegistryOperation) and entry.operation.name == name)
        )

    def _pages(self, most: int, page_of: Callable[[str], Page[T]]) -> list[T]:
        found: list[T] = []
        token = ""
        while True:
            page = page_of(token)
            found.extend(page.items)
            token = page.next_page_token
            if not token or len(found) >= most:
                return found[:most]

    @staticmethod
    def _try(question: Callable[[], T]) -> tuple[T | None, Exception | None]:
        try:
            return question(), None
        except (TransientError, NotFoundError) as failure:
            return None, failure


def _creation_of(
    entries: Sequence[QueuedOperation], version: str, number: str | None
) -> QueuedOperation | None:
    for entry in entries:
        operation = entry.operation
        if isinstance(operation, CreateModelVersion) and (
            operation.provisional_id == version or (number and entry.primary_id == number)
        ):
            return entry
    return None


def _matches(version: ModelVersion, query: VersionQuery) -> bool:
    return (
        (not query.name or version.name == query.name)
        and (not query.run_id or version.run_id == query.run_id)
        and all(version.tags.get(key) == value for key, value in query.tags.items())
    )


def _age(version: ModelVersion) -> tuple[int, int, int]:
    number = int(version.version) if version.version.isdigit() else 0
    return (version.sync_state == "pending", version.creation_timestamp or 0, number)
