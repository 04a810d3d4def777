"""Translation between provisional and primary ids, by what process, journal and primary know."""

import contextlib
from collections.abc import Callable

from hokusai_core.backends import OpenBackend
from hokusai_core.clock import Deadline
from hokusai_core.errors import BackendError, JournalUnavailableError
from hokusai_core.fallback import FallbackStore
from hokusai_core.identifiers import IdKind, creation_of
from hokusai_core.journal import EntryQuery
from hokusai_core.operations import AnyOperation

_UNIQUE = frozenset({IdKind.RUN, IdKind.MODEL})
"""Kinds whose primary ids mean one thing only; experiments and versions have small numbers."""


class IdTranslator:
    """Knows which provisional id stands for which primary id.

    Args:
        fallback: The journal, whose mappings are the truth; None without a fallback.
    """

    def __init__(self, fallback: FallbackStore | None) -> None:
        self._fallback = fallback
        self._primary_ids: dict[str, str] = {}
        self._provisional_ids: dict[str, str] = {}

    def learn(self, provisional: str, primary: str) -> None:
        """Remember one pair."""
        self._primary_ids[provisional] = primary
        creation = creation_of(provisional)
        if creation and creation[0] in _UNIQUE:
            self._provisional_ids.setdefault(primary, provisional)

    def primary_id(self, identifier: str) -> str | None:
        """Give the primary's id for a provisional one, from memory or the journal; None if unknown.

        Any other id is the primary's already and comes back as it is.
        """
        if creation_of(identifier) is None:
            return identifier
        if identifier not in self._primary_ids:
            self._load((identifier,))
        return self._primary_ids.get(identifier)

    def provisional_id(self, identifier: str) -> str | None:
        """Give the provisional id that stands for a primary id, if this process met one."""
        return self._provisional_ids.get(identifier)

    def meet(self, primary_id: str) -> None:
        """Ask the journal whether a primary id has a provisional one.

        Raises:
            JournalUnavailableError: The journal cannot tell.
        """
        if self._fallback and primary_id not in self._provisional_ids:
            for primary, provisional in self._fallback.aliases((primary_id,)).items():
                self.learn(provisional, primary)

    def learn_from_journal(self, primary_id: str) -> None:
        """Like :meth:`meet`, where the journal may be away."""
        with contextlib.suppress(JournalUnavailableError):
            self.meet(primary_id)

    def canonical(self, operation: AnyOperation) -> AnyOperation:
        """Give the operation with provisional ids wherever they are known.

        So that all writes to one thing are in one stream of the journal, whichever of its two ids
        the caller used.
        """
        return operation.renamed(self._provisional_ids) if self._provisional_ids else operation

    def sendable(self, operation: AnyOperation) -> AnyOperation | None:
        """Give the operation with primary ids only; None while one of them is not known."""
        references = operation.references
        if not references:
            return operation
        unknown = tuple(name for name in references if name not in self._primary_ids)
        if unknown:
            self._load(unknown)
        if any(name not in self._primary_ids for name in references):
            return None
        return operation.renamed(self._primary_ids)

    def search(self, identifier: str, backend: OpenBackend, deadline: Deadline) -> str | None:
        """Look on the primary for what a provisional id of somebody else's journal stands for.

        Returns None where the creation waits in this journal, or is not found, or the primary
        cannot be asked.
        """
        creation = creation_of(identifier)
        if creation is None or self._waits_here(creation[1]):
            return None
        kind, op_id = creation
        search: Callable[[str, Deadline], tuple[str, ...]] = (
            backend.registry.registry_find_by_op_id
            if kind is IdKind.VERSION
            else backend.tracking.tracking_find_by_op_id
        )
        try:
            found = search(op_id, deadline)
        except BackendError:
            return None
        if not found:
            return None
        self.learn(identifier, found[0])
        return found[0]

    def _waits_here(self, op_id: str) -> bool:
        if self._fallback is None:
            return False
        query = EntryQuery(op_ids=(op_id,), states=("waiting", "dead"), limit=1)
        return bool(self._fallback.read(query))

    def _load(self, identifiers: tuple[str, ...]) -> None:
        if self._fallback:
            for provisional, primary in self._fallback.resolve(identifiers).items():
                self.learn(provisional, primary)
