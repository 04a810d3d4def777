"""Reads of the model registry: the primary's answer with what waits laid over it, or without it."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from hokusai_core.entities import ModelVersion, Page, RegisteredModel
from hokusai_core.errors import ModelNotFoundError, NotFoundError, TransientError
from hokusai_core.identifiers import creation_of
from hokusai_core.incomplete import warn_of_incomplete
from hokusai_core.journal import QueuedOperation
from hokusai_core.operations import CreateRegisteredModel, RegistryOperation
from hokusai_core.overlay import overlay_registered_model
from hokusai_core.queries import ModelQuery, VersionQuery
from hokusai_core.reading import Sources, operations_of
from hokusai_core.registry_index import RegistryIndex, ids_of
from hokusai_core.registry_journal import RegistryJournal
from hokusai_core.seen_aliases import KnownAliases, SeenAliases

T = TypeVar("T")

_NEWEST = 100
"""Versions among which the newest surely is: numbers and creation times may differ in a moment."""


class RegistryReader:
    """Answers questions about registered models and their versions."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._journal = RegistryJournal(sources)
        self._seen = SeenAliases(sources.ids.primary_id)

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Get a registered model with its aliases, which may point to versions that wait.

        In an outage the aliases are those that were seen last, and those that the journal knows.

        Raises:
            ModelNotFoundError: There is no such model, and its creation does not wait.
            TransientError: The primary is away, and nothing is known without it.
        """
        try:
            return self._registered_model(name)
        except TransientError:
            entries = _not_refused(self._journal.of_registered_model(name))
            if not entries:
                raise
        return self._without_primary(name, entries)

    def known_alias(self, name: str, alias: str) -> str | None:
        """Give the version that an alias points to by what was seen last, and the journal: "" for none.

        None where nothing is known of the alias. The primary is not asked.
        """
        return self._known_aliases(name).target(alias)

    def get_version(self, name: str, version: str) -> ModelVersion:
        """Get a version by its number or its provisional id.

        Raises:
            ModelNotFoundError: There is no such version, or its deletion waits.
            TransientError: The primary is away, and nothing is known without it.
        """
        number, _ = self._sources.names(version)
        base: ModelVersion | None = None
        failure: TransientError | None = None
        if number:
            try:
                base = self._version(name, number)
            except TransientError as reason:
                failure = reason
        if base is None:
            index = self._journal.of_version(name, {version, number or version})
        else:
            known = sorted({version, *ids_of(base)})
            streams = (f"model/{name}", *(f"version/{name}/{each}" for each in known))
            index = RegistryIndex(self._journal.waiting(name, streams))
        creation = index.creation(name, version) or index.creation(name, number or version)
        names = {version, number or version, *(ids_of(base) if base else ())}
        if creation and creation.operation:
            names |= {creation.primary_id, creation.operation.provisional_id or ""}
        if base is None and creation is None:
            raise failure or self._unknown(name, version)
        found = self._overlaid(index, base, name, frozenset(names - {""}))
        if found is None:
            raise ModelNotFoundError(
                f"Model not found: the deletion of {name}, version {version}, waits."
            )
        return found

    def get_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Get the version that an alias points to; in an outage, the one that it had when last seen.

        Raises:
            ModelNotFoundError: There is no such model or alias.
            TransientError: The primary is away, and nothing is known without it.
        """
        try:
            version = self._registered_model(name).aliases.get(alias)
        except TransientError:
            version = self.known_alias(name, alias)
            if version is None:
                raise
        if not version:
            raise ModelNotFoundError(f"Model not found: {name} has no alias {alias!r}.")
        return self.get_version(name, version)

    def search_versions(self, query: VersionQuery) -> tuple[ModelVersion, ...]:
        """Search versions, with those that wait; newest first, at most ``query.max_results``.

        Where the primary cannot be asked, a WARNING says that the answer is not complete.

        Raises:
            TransientError: The primary is away, and there is no journal to answer from.
        """
        found, failure = self._search(query, query.max_results)
        if failure:
            warn_of_incomplete("model versions", self._sources.destination)
        return found

    def all_versions(self, query: VersionQuery) -> tuple[ModelVersion, ...]:
        """Like :meth:`search_versions`, but give all of them, and never nothing for want of an answer.

        Raises:
            TransientError: The primary is away, and nothing is known without it.
        """
        found, failure = self._search(query, None)
        if failure:
            if not found:
                raise failure
            warn_of_incomplete("model versions", self._sources.destination)
        return found

    def find_version(self, query: VersionQuery) -> ModelVersion | None:
        """Give the newest version that is searched for, with one query; None where there is none.

        Raises:
            TransientError: The primary is away, and no such version is known without it.
        """
        found, failure = self._search(query, 1)
        if failure and not found:
            raise failure
        return found[0] if found else None

    def newest_version(self, name: str) -> ModelVersion | None:
        """Give a model's version with the highest number, or one that waits for its number.

        None where it has none. In an outage it is the newest that is known here, and a WARNING says
        so; but one that waits is surely the newest.

        Raises:
            TransientError: The primary is away, and none is known without it.
        """
        found, failure = self._search(VersionQuery(name=name, max_results=_NEWEST), _NEWEST)
        newest = max(found, key=_number, default=None)
        if failure:
            if newest is None:
                raise failure
            if newest.version.isdigit():
                warn_of_incomplete("model versions", self._sources.destination)
        return newest

    def in_order_of_coming(self, query: VersionQuery) -> tuple[ModelVersion, ...]:
        """Give all versions that are searched for, the first to come first.

        Those on the primary by their numbers, then those that wait by their places in the journal.

        Raises:
            TransientError: The primary is away, and there is no journal to answer from.
        """
        found, _ = self._matching(query, None)
        return tuple(sorted(found, key=_place))

    def _search(
        self, query: VersionQuery, most: int | None
    ) -> tuple[tuple[ModelVersion, ...], TransientError | None]:
        """Search versions, newest first; with the reason why the primary did not answer, if so."""
        found, failure = self._matching(query, most)
        return tuple(sorted(found, key=_age, reverse=True)[:most]), failure

    def _matching(
        self, query: VersionQuery, most: int | None
    ) -> tuple[list[ModelVersion], TransientError | None]:
        """Find versions: those on the primary, then those that wait, in the journal's order."""
        failure: TransientError | None = None
        index = RegistryIndex(self._journal.waiting(query.name))
        asked_at = time.time()
        try:
            found = self._pages(
                None if most is None else most + index.changes,
                lambda token: self._sources.ask(
                    lambda backend: backend.registry.registry_search_versions(
                        query.model_copy(update={"page_token": token}),
                        self._sources.deadline(),
                    )
                ),
            )
        except TransientError as reason:
            if self._sources.fallback is None:
                raise
            found, failure = [], reason
            index = self._journal.may_match(query)
        for version in found:
            self._seen.saw_version(version, asked_at)
        known = [index.overlaid(version, version.name, ids_of(version)) for version in found]
        known += self._created(index, query, found)
        if failure is None:
            known += self._retagged(index, query, known)
        matching = [
            version
            for version in known
            if version and query.matches(version) and version.sync_state != "dead"
        ]
        return matching, failure

    def _created(
        self, index: RegistryIndex, query: VersionQuery, found: Sequence[ModelVersion]
    ) -> list[ModelVersion]:
        """Give the versions that the primary did not, whose creation the journal holds."""
        known = {(version.name, each) for version in found for each in ids_of(version)}
        aliases: dict[str, KnownAliases] = {}
        created: list[ModelVersion] = []
        for creation, entry in index.creations():
            ids = frozenset(filter(None, (creation.provisional_id, entry.primary_id)))
            if known.isdisjoint((creation.name, each) for each in ids) and index.may_match(
                creation, ids, query
            ):
                name = creation.name
                if name not in aliases:
                    aliases[name] = self._seen.known(name, index.of_aliases(name))
                if version := index.overlaid(None, name, ids):
                    pointing = aliases[name].of_version(ids)
                    created.append(version.model_copy(update={"aliases": pointing}))
        return created

    def _retagged(
        self, index: RegistryIndex, query: VersionQuery, known: Sequence[ModelVersion | None]
    ) -> list[ModelVersion | None]:
        """Give the versions that match because of a tag that waits."""
        seen = {(version.name, each) for version in known if version for each in ids_of(version)}
        found: list[ModelVersion | None] = []
        for name, version in index.retagged(query):
            if (name, version) not in seen:
                with contextlib.suppress(NotFoundError, TransientError):
                    found.append(self.get_version(name, version))
        return found

    def list_registered_models(self, query: ModelQuery) -> tuple[RegisteredModel, ...]:
        """List registered models by name, with those that wait.

        Where the primary cannot be asked, a WARNING says that the answer is not complete.

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
        if away:
            warn_of_incomplete("registered models", self._sources.destination)
        entries = self._journal.everything() if away else self._journal.waiting()
        by_name: dict[str, list[QueuedOperation]] = defaultdict(list)
        for entry in _not_refused(entries):
            if isinstance(entry.operation, RegistryOperation):
                by_name[entry.operation.name].append(entry)
        for name, own in by_name.items():
            if name in found:
                found[name] = overlay_registered_model(found[name], operations_of(own), name)
            elif name.startswith(query.prefix) and (away or _creates_model(own)):
                found[name] = self._without_primary(name, own)
        return tuple(found[name] for name in sorted(found))[: query.max_results]

    def download_model(self, name: str, version: str, destination: Path) -> Path:
        """Download a delivered version's files into a folder."""
        return self._sources.ask(
            lambda backend: backend.registry.registry_download_model(
                name, version, destination, self._sources.idle_deadline()
            ),
            artifacts=True,
        )

    def _pages(self, most: int | None, page_of: Callable[[str], Page[T]]) -> list[T]:
        found: list[T] = []
        token = ""
        while True:
            page = page_of(token)
            found.extend(page.items)
            token = page.next_page_token
            if not token or (most is not None and len(found) >= most):
                return found[:most]

    def _registered_model(self, name: str) -> RegisteredModel:
        """Ask the primary for a registered model, and lay over what waits.

        Raises:
            NotFoundError: It has none of this name, and the creation of one does not wait.
            TransientError: It gave no answer.
        """
        asked_at = time.time()
        base: RegisteredModel | None = None
        missing: NotFoundError | None = None
        try:
            base = self._sources.ask(
                lambda backend: backend.registry.registry_get_registered_model(
                    name, self._sources.deadline()
                )
            )
        except NotFoundError as answer:
            missing = answer
        self._seen.saw_model(base or RegisteredModel(name=name), asked_at)
        entries = self._journal.waiting(name, (f"model/{name}",))
        if missing and not _creates_model(entries):
            raise missing
        return overlay_registered_model(base, operations_of(entries), name)

    def _without_primary(self, name: str, entries: Sequence[QueuedOperation]) -> RegisteredModel:
        model = overlay_registered_model(None, operations_of(entries), name)
        known = self._seen.known(name, entries)
        return model.model_copy(update={"aliases": known.pointing()})

    def _version(self, name: str, number: str) -> ModelVersion:
        """Ask the primary for a version.

        Raises:
            NotFoundError: It has none of this number: what the journal knows of one was deleted since.
            TransientError: It gave no answer.
        """
        asked_at = time.time()
        found = self._sources.ask(
            lambda backend: backend.registry.registry_get_model_version(
                name, number, self._sources.deadline()
            )
        )
        self._seen.saw_version(found, asked_at)
        return found

    def _unknown(self, name: str, version: str) -> Exception:
        """Say why nothing is known of a provisional id: the primary has none such, or is away."""
        identifier = creation_of(version)
        try:
            if identifier:
                self._sources.ask(
                    lambda backend: backend.registry.registry_find_by_op_id(
                        identifier[1], self._sources.deadline()
                    )
                )
        except TransientError as failure:
            return failure
        return ModelNotFoundError(f"Model not found: {name}, version {version}.")

    def _known_aliases(self, name: str) -> KnownAliases:
        return self._seen.known(name, self._journal.of_registered_model(name))

    def _overlaid(
        self, index: RegistryIndex, base: ModelVersion | None, name: str, ids: frozenset[str]
    ) -> ModelVersion | None:
        """Lay what the journal holds over the primary's answer; without one, aliases as last seen."""
        found = index.overlaid(base, name, ids)
        if found is None or base is not None:
            return found
        known = self._seen.known(name, index.of_aliases(name))
        return found.model_copy(update={"aliases": known.of_version(ids)})


def _creates_model(entries: Iterable[QueuedOperation]) -> bool:
    return any(isinstance(entry.operation, CreateRegisteredModel) for entry in entries)


def _not_refused(entries: Sequence[QueuedOperation]) -> tuple[QueuedOperation, ...]:
    return tuple(entry for entry in entries if entry.state != "dead")


def _age(version: ModelVersion) -> tuple[int, int, int]:
    """Sort what waits for its number behind the rest, as it is the newest."""
    number = int(version.version) if version.version.isdigit() else 0
    return (number == 0, version.creation_timestamp or 0, number)


def _number(version: ModelVersion) -> tuple[bool, int, int]:
    number = int(version.version) if version.version.isdigit() else 0
    return (number == 0, number, version.creation_timestamp or 0)


def _place(version: ModelVersion) -> tuple[bool, int]:
    """Sort what waits behind the rest, in the order that it has; see ``in_order_of_coming``."""
    return (not version.version.isdigit(), int(version.version) if version.version.isdigit() else 0)
