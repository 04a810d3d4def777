"""What aliases point to by all that is known without the primary."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from hokusai_core.entities import ModelVersion, RegisteredModel
from hokusai_core.journal import QueuedOperation
from hokusai_core.operations import (
    AliasOperation,
    CreateRegisteredModel,
    DeleteModelVersion,
    SetAlias,
)

_MODELS = 1000
"""Registered models whose aliases are remembered: those that were read last."""


class _Sight(NamedTuple):
    """The version that an alias had, and when, in seconds since 1970.

    "" is none; None: another one than before, and nobody saw which.
    """

    version: str | None
    at: float


class _Seen(NamedTuple):
    aliases: Mapping[str, _Sight]
    all_at: float | None
    """When the model was read, and no other alias was there; None where it was not."""

    def sight(self, alias: str) -> _Sight | None:
        if alias in self.aliases:
            return self.aliases[alias]
        return None if self.all_at is None else _Sight("", self.all_at)


class KnownAliases(NamedTuple):
    """Aliases of one registered model: ``targets`` by alias, as in :meth:`target`.

    ``complete`` says that an alias which is not among them was not there when last seen.
    """

    targets: Mapping[str, str | None]
    complete: bool

    def target(self, alias: str) -> str | None:
        """Give the version that an alias points to: "" for none, None where that is not known."""
        return self.targets.get(alias, "" if self.complete else None)

    def pointing(self) -> dict[str, str]:
        """Give the versions of the aliases that point to one, in the order of the aliases."""
        return {alias: version for alias, version in sorted(self.targets.items()) if version}

    def of_version(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Give the aliases that point to a version, under any of its names."""
        names = frozenset(ids)
        return tuple(alias for alias, version in self.pointing().items() if version in names)


class SeenAliases:
    """Remembers, in this process, which aliases the primary told last; bounded.

    An outage answers with them, brought up to date by what the journal holds: what waits, and what
    was delivered later than they were seen.

    Args:
        primary_id: Gives the number of a provisional version; None while it has none.
    """

    def __init__(self, primary_id: Callable[[str], str | None]) -> None:
        self._primary_id = primary_id
        # No lock, because a fork may come at any point: each step is one call of a dict.
        self._models: OrderedDict[str, _Seen] = OrderedDict()

    def saw_model(self, model: RegisteredModel, at: float) -> None:
        """Remember all aliases of a registered model.

        Args:
            model: As the primary told it.
            at: When it was asked, in seconds since 1970.
        """
        found = {alias: _Sight(version, at) for alias, version in model.aliases.items()}
        self._remember(model.name, _Seen(found, at))

    def saw_version(self, version: ModelVersion, at: float) -> None:
        """Remember the aliases of a version; one that it had, and has no more, is unknown then."""
        seen = self._models.get(version.name)
        if seen is None and not version.aliases:
            return
        before = seen.aliases if seen else {}
        lost = (
            alias
            for alias, sight in before.items()
            if sight.version == version.version and alias not in version.aliases
        )
        found = {**before, **{alias: _Sight(None, at) for alias in lost}}
        found |= {alias: _Sight(version.version, at) for alias in version.aliases}
        self._remember(version.name, _Seen(found, seen.all_at if seen else None))

    def known(self, name: str, entries: Iterable[QueuedOperation]) -> KnownAliases:
        """Say what the aliases of a model point to.

        Args:
            name: The registered model.
            entries: All that is kept of its aliases, and of the deletions of its versions, in order.
        """
        seen = self._models.get(name) or _Seen({}, None)
        targets = {alias: sight.version for alias, sight in seen.aliases.items()}
        complete = seen.all_at is not None
        for entry in entries:
            operation = entry.operation
            if entry.state == "dead":
                continue
            if isinstance(operation, AliasOperation) and operation.name == name:
                if _is_news(entry, seen.sight(operation.alias)):
                    moved = operation.version if isinstance(operation, SetAlias) else ""
                    targets[operation.alias] = self._primary_id(moved) or moved if moved else ""
            elif isinstance(operation, DeleteModelVersion) and operation.name == name:
                gone = {operation.version, self._primary_id(operation.version)}
                for alias, version in targets.items():
                    if version in gone and _is_news(entry, seen.sight(alias)):
                        targets[alias] = ""
            elif isinstance(operation, CreateRegisteredModel) and operation.name == name:
                # Nobody had heard of the model, so it had no aliases.
                complete = complete or entry.state == "waiting"
        return KnownAliases(targets, complete)

    def _remember(self, name: str, seen: _Seen) -> None:
        self._models.pop(name, None)
        self._models[name] = seen
        if len(self._models) > _MODELS:
            self._models.popitem(last=False)


def _is_news(entry: QueuedOperation, sight: _Sight | None) -> bool:
    """Whether an operation came, or will come, to the primary later than the alias was seen.

    By this machine's clock where it was written here, whatever the time is in the journal.
    """
    if sight is None or entry.state == "waiting" or entry.operation is None:
        return True
    return max(entry.operation.created_at / 1000, entry.settled_at or 0.0) > sight.at
