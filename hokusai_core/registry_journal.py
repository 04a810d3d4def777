"""What the journal knows of the model registry, read by the part that a question needs."""

from collections.abc import Iterable

from hokusai_core.journal import EntryState, QueuedOperation
from hokusai_core.operations import CreateModelVersion, RegistryOperation, VersionOperation
from hokusai_core.queries import VersionQuery
from hokusai_core.reading import KEPT, WAITING, Sources
from hokusai_core.registry_index import RegistryIndex

_KINDS = (
    "create_registered_model",
    "create_model_version",
    "set_model_version_tags",
    "delete_model_version",
    "set_registered_model_tags",
    "set_alias",
    "delete_alias",
)
_VERSION_KINDS = ("create_model_version", "set_model_version_tags")
_OF_ONE_VERSION = (*_VERSION_KINDS, "delete_model_version", "set_alias", "delete_alias")


class RegistryJournal:
    """Reads the registry's entries. Those in health are few; all that is kept may be many.

    Args:
        sources: The journal, and how ids are translated.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def waiting(self, name: str = "", streams: tuple[str, ...] = ()) -> tuple[QueuedOperation, ...]:
        """Read what waits of one registered model ("" for all)."""
        return _of_model(name, self._read(states=WAITING, streams=streams))

    def of_registered_model(self, name: str) -> tuple[QueuedOperation, ...]:
        """Read all that is kept of a model's own tags and aliases, and what removes aliases."""
        kinds = tuple(kind for kind in _KINDS if kind not in _VERSION_KINDS)
        return _of_model(name, self._read(kinds=kinds, mentions=name))

    def everything(self) -> tuple[QueuedOperation, ...]:
        """Read all that is kept of all models."""
        return self._read()

    def of_version(self, name: str, ids: Iterable[str]) -> RegistryIndex:
        """Read all that is kept of one version, under any of its names."""
        known = set(ids)
        creations = self._read(kinds=("create_model_version",), primary_ids=tuple(sorted(known)))
        for entry in _of_model(name, creations):
            known |= _names_of(entry)
        return RegistryIndex(self._of_versions({(name, each) for each in known}))

    def may_match(self, query: VersionQuery) -> RegistryIndex:
        """Read all that is kept of the versions that may be what a query asks for."""
        wanted = (*query.tags.values(), *query.folded_tags.values(), query.run_id)
        needle = max(wanted, key=len)
        if not needle:
            return RegistryIndex(_of_model(query.name, self._read(mentions=query.name)))
        versions: set[tuple[str, str]] = set()
        for entry in _of_model(query.name, self._read(kinds=_VERSION_KINDS, mentions=needle)):
            operation = entry.operation
            if isinstance(operation, CreateModelVersion | VersionOperation):
                versions |= {(operation.name, each) for each in _names_of(entry)}
        numbers = tuple(sorted({version for _, version in versions if version.isdigit()}))
        if numbers:
            for entry in self._read(kinds=("create_model_version",), primary_ids=numbers):
                operation = entry.operation
                if (
                    isinstance(operation, CreateModelVersion)
                    and (operation.name, entry.primary_id) in versions
                ):
                    versions |= {(operation.name, each) for each in _names_of(entry)}
        return RegistryIndex(self._of_versions(versions))

    def _of_versions(self, versions: set[tuple[str, str]]) -> tuple[QueuedOperation, ...]:
        if not versions:
            return ()
        streams = {f"version/{name}/{version}" for name, version in versions}
        streams |= {f"model/{name}" for name, _ in versions}
        return self._read(kinds=_OF_ONE_VERSION, streams=tuple(sorted(streams)))

    def _read(
        self,
        *,
        kinds: tuple[str, ...] = _KINDS,
        states: tuple[EntryState, ...] = KEPT,
        streams: tuple[str, ...] = (),
        primary_ids: tuple[str, ...] = (),
        mentions: str = "",
    ) -> tuple[QueuedOperation, ...]:
        return self._sources.entries(
            streams=streams,
            kinds=kinds,
            states=states,
            primary_ids=primary_ids,
            mentions=mentions,
        )


def _names_of(entry: QueuedOperation) -> set[str]:
    operation = entry.operation
    if isinstance(operation, CreateModelVersion):
        return {name for name in (operation.provisional_id, entry.primary_id) if name}
    return {operation.version} if isinstance(operation, VersionOperation) else set()


def _of_model(name: str, entries: Iterable[QueuedOperation]) -> tuple[QueuedOperation, ...]:
    return tuple(
        entry
        for entry in entries
        if not name
        or (isinstance(entry.operation, RegistryOperation) and entry.operation.name == name)
    )
