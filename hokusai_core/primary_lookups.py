"""What a worker asks the primary, and the journal's id map, before it sends an operation."""

import logging
from collections import OrderedDict
from typing import get_args

from hokusai_core.backends import OpenBackend
from hokusai_core.clock import Clock, Deadline
from hokusai_core.entities import ModelVersion, Receipt
from hokusai_core.errors import AlreadyExistsError, BackendError, ConflictError
from hokusai_core.hookspecs import Journal
from hokusai_core.identifiers import OP_ID_TAG, IdKind, creation_of
from hokusai_core.journal import EntryQuery, EntryState
from hokusai_core.model_tags import MODEL_ID
from hokusai_core.operations import (
    AliasOperation,
    AnyOperation,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRun,
    SetAlias,
    SetModelVersionTags,
)
from hokusai_core.queries import VersionQuery
from hokusai_core.search_pauses import SearchPauses

logger = logging.getLogger(__name__)

_REMEMBERED_IDS = 10_000
_ALL_STATES = get_args(EntryState)


class UnknownIdError(Exception):
    """A provisional id that neither the journal nor the primary knows; ``identifier`` is it."""

    def __init__(self, identifier: str) -> None:
        super().__init__(identifier)
        self.identifier = identifier


class PrimaryLookups:
    """Looks things up for a worker.

    Args:
        journal: Whose id map is the truth.
        primary: Where operations go.
        read_timeout: Seconds that the search for one id may take.
        clock: Time.
        pauses: Between searches for an id that was not found.
    """

    def __init__(
        self,
        journal: Journal,
        primary: OpenBackend,
        read_timeout: float,
        clock: Clock,
        pauses: SearchPauses,
    ) -> None:
        self._journal = journal
        self._primary = primary
        self._read_timeout = read_timeout
        self._clock = clock
        self._pauses = pauses
        self.ids: OrderedDict[str, str] = OrderedDict()
        """Primary ids by provisional ids, as far as this worker met them, the last ones at the end."""

    def learn(self, provisional: str, primary: str) -> None:
        """Remember what a creation gave; what was not needed for longest is forgotten."""
        self.ids[provisional] = primary
        self.ids.move_to_end(provisional)
        if len(self.ids) > _REMEMBERED_IDS:
            self.ids.popitem(last=False)

    def resolved(self, operation: AnyOperation) -> AnyOperation:
        """Put primary ids in the place of provisional ones.

        Raises:
            UnknownIdError: One of them is not known yet.
        """
        references = operation.references
        known = {name: self.ids[name] for name in references if name in self.ids}
        unknown = tuple(name for name in references if name not in known)
        if unknown:
            known.update(self._journal.journal_resolve(unknown))
        for name in references:
            if name not in known:
                known[name] = self._search(name)
            self.learn(name, known[name])
        return operation.renamed(known) if references else operation

    def earlier_attempt(self, operation: AnyOperation, deadline: Deadline) -> Receipt | None:
        """Look whether an earlier attempt of a creation made it; the earliest one is adopted."""
        if isinstance(operation, CreateRun):
            runs = self._primary.tracking.tracking_find_runs(operation, deadline)
            found = [run.info.run_id for run in runs]
        elif isinstance(operation, CreateModelVersion):
            versions = self._primary.registry.registry_find_versions(operation, deadline)
            found = [version.version for version in versions]
        elif isinstance(operation, CreateLoggedModel):
            models = self._primary.tracking.tracking_find_logged_models(operation, deadline)
            found = [model.model_id for model in models]
        else:
            found = []
        return Receipt(primary_id=found[0], created=False) if found else None

    def refuse_moved_alias(self, operation: AliasOperation, deadline: Deadline) -> None:
        """Leave an alias alone that somebody else decided about while the operation waited.

        Raises:
            ConflictError: It points neither where it did when last seen, nor where it shall.
        """
        if operation.force:
            return
        registry = self._primary.registry
        model = registry.registry_get_registered_model(operation.name, deadline)
        current = model.aliases.get(operation.alias, "")
        wanted = operation.version if isinstance(operation, SetAlias) else ""
        if current in ("", wanted, operation.expected):
            return
        seen = (
            "nothing was known of it"
            if operation.expected is None
            else f"it pointed to {operation.expected or 'nothing'}"
        )
        raise ConflictError(
            f"Alias {operation.alias!r} of {operation.name!r} points to version {current}; when the "
            f"move to {wanted or 'nothing'} was queued, {seen}. Move it again if that still holds."
        )

    def refuse_tags_of_no_move(self, operation: SetModelVersionTags) -> None:
        """Refuse tags that tell of a move of an alias which did not reach the primary.

        Raises:
            ConflictError: It was refused, or given up.
        """
        if not operation.follows:
            return
        query = EntryQuery(op_ids=(operation.follows,), states=_ALL_STATES)
        state = next((entry.state for entry in self._journal.journal_read(query)), "not known here")
        if state != "delivered":
            raise ConflictError(
                f"The tags {', '.join(sorted(operation.tags))} of {operation.name!r}, version "
                f"{operation.version}, tell of a move of an alias that is {state}; they were not set. "
                f"`hokusai queue show {operation.follows}` tells of the move. Retry both, or discard "
                "both."
            )

    def refuse_taken_model_id(
        self, operation: CreateModelVersion | SetModelVersionTags, deadline: Deadline
    ) -> None:
        """Refuse to give a version a ``model_id`` that another one got on the primary meanwhile.

        Raises:
            AlreadyExistsError: Another version has it.
        """
        model_id = operation.tags.get(MODEL_ID)
        if not model_id:
            return
        query = VersionQuery(tags={MODEL_ID: model_id})
        token = ""
        while True:
            page = self._primary.registry.registry_search_versions(
                query.model_copy(update={"page_token": token}), deadline
            )
            for version in page.items:
                if not _is_of(version, operation):
                    raise AlreadyExistsError(
                        f"model_id {model_id!r} was registered elsewhere meanwhile, as "
                        f"{version.name} version {version.version}. Discard this one, or give its "
                        "model another id."
                    )
            token = page.next_page_token
            if not token:
                return

    def _search(self, identifier: str) -> str:
        """Find what was created through another journal, by its tag on the primary.

        Raises:
            UnknownIdError: It was not found, or is not searched for at this moment.
        """
        if not self._pauses.is_over(identifier, self._clock.monotonic()):
            raise UnknownIdError(identifier)
        creation = creation_of(identifier)
        found: tuple[str, ...] = ()
        if creation:
            kind, op_id = creation
            deadline = Deadline(self._read_timeout, self._clock)
            try:
                found = (
                    self._primary.registry.registry_find_by_op_id(op_id, deadline)
                    if kind is IdKind.VERSION
                    else self._primary.tracking.tracking_find_by_op_id(op_id, deadline)
                )
            except BackendError as failure:
                logger.debug("The search for %s failed: %s", identifier, failure)
                raise UnknownIdError(identifier) from failure
        if not found:
            self._pauses.begin(identifier, self._clock.monotonic())
            raise UnknownIdError(identifier)
        self._pauses.forget(identifier)
        return found[0]


def _is_of(version: ModelVersion, operation: CreateModelVersion | SetModelVersionTags) -> bool:
    """Whether it is the version that the operation makes, or writes to."""
    if isinstance(operation, CreateModelVersion):
        return version.tags.get(OP_ID_TAG) == operation.op_id
    return (version.name, version.version) == (operation.name, operation.version)
