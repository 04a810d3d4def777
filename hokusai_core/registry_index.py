"""What a journal holds of the model registry, arranged so that each version's part is found at once."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hokusai_core.entities import ModelVersion
from hokusai_core.identifiers import OP_ID_TAG, IdKind, provisional_id
from hokusai_core.journal import QueuedOperation
from hokusai_core.operations import (
    AliasOperation,
    CreateModelVersion,
    DeleteModelVersion,
    SetModelVersionTags,
    VersionOperation,
)
from hokusai_core.overlay import overlay_version
from hokusai_core.queries import VersionQuery
from hokusai_core.reading import operations_of


class VersionKey(NamedTuple):
    """A version of a registered model, under its number or its provisional id."""

    name: str
    version: str


class RegistryIndex:
    """Registry entries of one journal, by version.

    Args:
        entries: In the order of the journal. What was refused for good counts only where it is the
            creation of a version, which is then ``dead``.
    """

    def __init__(self, entries: Iterable[QueuedOperation]) -> None:
        self._creations: dict[VersionKey, QueuedOperation] = {}
        self._writes: dict[VersionKey, list[QueuedOperation]] = defaultdict(list)
        self._aliases: dict[str, list[QueuedOperation]] = defaultdict(list)
        self._deletions: dict[str, list[QueuedOperation]] = defaultdict(list)
        self._places: dict[str, int] = {}
        for place, entry in enumerate(entries):
            self._places[entry.op_id] = place
            operation = entry.operation
            if isinstance(operation, CreateModelVersion):
                for name in filter(None, (operation.provisional_id, entry.primary_id)):
                    self._creations[VersionKey(operation.name, name)] = entry
            elif entry.state == "dead":
                continue
            elif isinstance(operation, VersionOperation):
                self._writes[VersionKey(operation.name, operation.version)].append(entry)
                if isinstance(operation, DeleteModelVersion):
                    self._deletions[operation.name].append(entry)
            elif isinstance(operation, AliasOperation):
                self._aliases[operation.name].append(entry)

    @property
    def changes(self) -> int:
        """How many writes to existing versions there are: so many may differ from the primary's."""
        return sum(len(entries) for entries in self._writes.values())

    def of_aliases(self, name: str) -> list[QueuedOperation]:
        """Give the moves of a model's aliases, and what deletes its versions, in order."""
        entries = (*self._aliases.get(name, ()), *self._deletions.get(name, ()))
        return sorted(entries, key=lambda entry: self._places[entry.op_id])

    def creation(self, name: str, version: str) -> QueuedOperation | None:
        """Give the entry that creates a version, under either of its names."""
        return self._creations.get(VersionKey(name, version))

    def creations(self) -> Iterator[tuple[CreateModelVersion, QueuedOperation]]:
        """Go through the creations of versions, in the order of the journal."""
        unique = {entry.op_id: entry for entry in self._creations.values()}
        for entry in unique.values():
            if isinstance(entry.operation, CreateModelVersion):
                yield entry.operation, entry

    def retagged(self, query: VersionQuery) -> Iterator[VersionKey]:
        """Name the versions that a waiting tag may make match a query."""
        wanted = query.tags.keys() | query.folded_tags.keys()
        for key, entries in self._writes.items():
            if query.name in ("", key.name) and any(
                isinstance(entry.operation, SetModelVersionTags)
                and not wanted.isdisjoint(entry.operation.tags)
                for entry in entries
            ):
                yield key

    def may_match(
        self, operation: CreateModelVersion, ids: frozenset[str], query: VersionQuery
    ) -> bool:
        """Say whether a created version may be what a query asks for; False is certain."""
        plain = ModelVersion(
            name=operation.name,
            version=next(iter(ids), ""),
            run_id=operation.run_id,
            tags=operation.tags,
        )
        if query.matches(plain):
            return True
        if query.name not in ("", operation.name):
            return False
        return any(VersionKey(operation.name, version) in self._writes for version in ids) or (
            bool(query.run_id) and query.run_id != operation.run_id
        )

    def overlaid(
        self, base: ModelVersion | None, name: str, ids: frozenset[str]
    ) -> ModelVersion | None:
        """Lay what the journal holds over the primary's answer.

        Args:
            base: What the primary said; None where it gave no answer.
            name: The registered model.
            ids: Every name of the version.

        Returns:
            The version; None where its deletion waits.
        """
        creation = next(filter(None, (self.creation(name, version) for version in ids)), None)
        own = list(self._aliases.get(name, ()))
        for version in ids:
            own += self._writes.get(VersionKey(name, version), ())
        if creation:
            own.append(creation)
        if base is not None:
            own = [entry for entry in own if entry.state == "waiting"]
        own.sort(key=lambda entry: self._places[entry.op_id])
        found = overlay_version(base, operations_of(own), name, ids) if own or not base else base
        if found is None or creation is None or creation.state == "waiting":
            return found
        if creation.state == "dead":
            return found.model_copy(update={"sync_state": "dead"})
        if base is not None:
            return found
        waits = any(
            entry.state == "waiting" and isinstance(entry.operation, VersionOperation)
            for entry in own
        )
        changes: dict[str, object] = {"sync_state": "pending" if waits else "delivered"}
        if creation.primary_id:
            changes["version"] = creation.primary_id
        return found.model_copy(update=changes)


def ids_of(version: ModelVersion) -> frozenset[str]:
    """Give every name of a version that the primary told: its number, and the provisional id."""
    op_id = version.tags.get(OP_ID_TAG)
    names = (version.version, provisional_id(IdKind.VERSION, op_id) if op_id else "")
    return frozenset(filter(None, names))
