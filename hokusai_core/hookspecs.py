"""The contracts: what a backend implements.

A plugin declares in its manifest which of the three specifications it implements (capabilities
``tracking``, ``registry``, ``journal``), and then implements every hook of each, with exactly the
arguments given here; those behind a capability that it does not declare (``artifacts``,
``logged_models``) may be left out. Every hook returns a value, never None. Rules for all of them:

* Write hooks take the operation and a deadline, stay within it, and return a
  :class:`~hokusai_core.entities.Receipt`. They raise
  :class:`~hokusai_core.errors.TransientError` (saying whether the operation may have been applied)
  or :class:`~hokusai_core.errors.PermanentError`; nothing else.
* Operations arrive validated, with primary ids in the place of provisional ones.
* Nothing is tried again inside a hook: that is the router's and the worker's business.
* Hooks are called from several threads at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from hokusai_core.clock import Deadline
from hokusai_core.entities import (
    BackendHealth,
    Experiment,
    FileInfo,
    LoggedModel,
    Metric,
    ModelVersion,
    Page,
    Receipt,
    RegisteredModel,
    Run,
)
from hokusai_core.journal import (
    Backlog,
    Claim,
    ClaimRequest,
    Entry,
    EntryQuery,
    QueuedOperation,
    Release,
    Settlement,
)
from hokusai_core.markers import hookspec
from hokusai_core.operations import (
    AnyOperation,
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    DeleteAlias,
    DeleteModelVersion,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    UpdateRun,
)
from hokusai_core.queries import ModelQuery, RunQuery, VersionQuery

OpenContent = Callable[[], BinaryIO]
"""Opens an artifact's bytes from the beginning; the caller of it closes what it gets."""


class TrackingBackend:
    """Experiments, runs and their artifacts."""

    @hookspec
    def tracking_check(self, deadline: Deadline) -> BackendHealth:
        """Ask the tracking server whether it answers; raises TransientError where it does not."""
        raise NotImplementedError

    @hookspec
    def tracking_create_experiment(
        self, operation: CreateExperiment, deadline: Deadline
    ) -> Receipt:
        """Get the experiment of that name, or create it with the tags. Harmless to repeat.

        Raises PermanentError (naming what to do) where an experiment of that name is deleted.
        """
        raise NotImplementedError

    @hookspec
    def tracking_create_run(self, operation: CreateRun, deadline: Deadline) -> Receipt:
        """Create a run in one request, its tags and the ``op_id`` tag included.

        A repeat makes a second run: the worker looks with ``tracking_find_runs`` first.
        """
        raise NotImplementedError

    @hookspec
    def tracking_log_batch(self, operation: LogBatch, deadline: Deadline) -> Receipt:
        """Store metrics, params and tags in one request. Harmless to repeat.

        Equal points (key, value, timestamp, step) are one point. A tag overwrites. A param that is
        stored with another value raises PermanentError.
        """
        raise NotImplementedError

    @hookspec
    def tracking_update_run(self, operation: UpdateRun, deadline: Deadline) -> Receipt:
        """Set what is not None of status, end time and name. Harmless to repeat."""
        raise NotImplementedError

    @hookspec
    def tracking_log_artifact(
        self, operation: LogArtifact, open_content: OpenContent, deadline: Deadline
    ) -> Receipt:
        """Store one file at the path, over what is there. Harmless to repeat.

        The deadline bounds the time without progress, not the whole transfer.
        """
        raise NotImplementedError

    @hookspec
    def tracking_create_logged_model(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Create a logged model, its tags and the ``op_id`` tag included, in one request.

        A repeat makes a second one: the worker looks with ``tracking_find_logged_models`` first.
        """
        raise NotImplementedError

    @hookspec
    def tracking_finalize_logged_model(
        self, operation: FinalizeLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Mark the model READY and, once, as an output of its run. Harmless to repeat."""
        raise NotImplementedError

    @hookspec
    def tracking_find_experiments(self, name: str, deadline: Deadline) -> tuple[Experiment, ...]:
        """Find the experiment of that name, deleted ones included: none or one."""
        raise NotImplementedError

    @hookspec
    def tracking_get_experiment(self, experiment_id: str, deadline: Deadline) -> Experiment:
        """Get an experiment; raises NotFoundError."""
        raise NotImplementedError

    @hookspec
    def tracking_find_runs(self, operation: CreateRun, deadline: Deadline) -> tuple[Run, ...]:
        """Find the runs that carry the creation's ``op_id``, deleted ones too, earliest first."""
        raise NotImplementedError

    @hookspec
    def tracking_find_logged_models(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> tuple[LoggedModel, ...]:
        """Find the logged models that carry the creation's ``op_id``, earliest first."""
        raise NotImplementedError

    @hookspec
    def tracking_find_run_models(self, run_id: str, deadline: Deadline) -> tuple[LoggedModel, ...]:
        """Find the logged models of a run, earliest first; raises NotFoundError without the run."""
        raise NotImplementedError

    @hookspec
    def tracking_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Find, in all active experiments, the ids of runs or logged models with this ``op_id``.

        For a provisional id whose creation is in somebody else's journal.
        """
        raise NotImplementedError

    @hookspec
    def tracking_get_run(self, run_id: str, deadline: Deadline) -> Run:
        """Get a run with its latest metrics, params and tags; raises NotFoundError."""
        raise NotImplementedError

    @hookspec
    def tracking_search_runs(self, query: RunQuery, deadline: Deadline) -> Page[Run]:
        """Search runs, newest first where ``order_by`` is empty.

        Raises InvalidInputError for a filter that the backend does not understand.
        """
        raise NotImplementedError

    @hookspec
    def tracking_get_metric_history(
        self, run_id: str, key: str, deadline: Deadline
    ) -> tuple[Metric, ...]:
        """Get every point of one metric, by (timestamp, step); () for a key never logged."""
        raise NotImplementedError

    @hookspec
    def tracking_list_artifacts(
        self, owner: ArtifactOwner, path: str, deadline: Deadline
    ) -> tuple[FileInfo, ...]:
        """List one folder ("" is the root), by path; () where there is nothing."""
        raise NotImplementedError

    @hookspec
    def tracking_download_artifact(
        self, owner: ArtifactOwner, path: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Write one file's bytes to the file ``destination``; raises NotFoundError.

        The deadline bounds the time without progress. Returns ``destination``.
        """
        raise NotImplementedError

    @hookspec
    def tracking_get_logged_model(self, model_id: str, deadline: Deadline) -> LoggedModel:
        """Get a logged model; raises NotFoundError."""
        raise NotImplementedError


class RegistryBackend:
    """Registered models, their versions, aliases and tags."""

    @hookspec
    def registry_check(self, deadline: Deadline) -> BackendHealth:
        """Ask the registry whether it answers; raises TransientError where it does not."""
        raise NotImplementedError

    @hookspec
    def registry_create_registered_model(
        self, operation: CreateRegisteredModel, deadline: Deadline
    ) -> Receipt:
        """Get the registered model, or create it. Harmless to repeat."""
        raise NotImplementedError

    @hookspec
    def registry_create_model_version(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> Receipt:
        """Create a version in one request, its tags and the ``op_id`` tag included.

        The receipt's ``primary_id`` is the version number. A repeat makes another version: the
        worker looks with ``registry_find_versions`` first.
        """
        raise NotImplementedError

    @hookspec
    def registry_set_model_version_tags(
        self, operation: SetModelVersionTags, deadline: Deadline
    ) -> Receipt:
        """Set tags of a version. Harmless to repeat."""
        raise NotImplementedError

    @hookspec
    def registry_delete_model_version(
        self, operation: DeleteModelVersion, deadline: Deadline
    ) -> Receipt:
        """Delete a version; one that is gone is a success."""
        raise NotImplementedError

    @hookspec
    def registry_set_registered_model_tags(
        self, operation: SetRegisteredModelTags, deadline: Deadline
    ) -> Receipt:
        """Set tags of a registered model. Harmless to repeat."""
        raise NotImplementedError

    @hookspec
    def registry_set_alias(self, operation: SetAlias, deadline: Deadline) -> Receipt:
        """Let the alias point to the version. Harmless to repeat."""
        raise NotImplementedError

    @hookspec
    def registry_delete_alias(self, operation: DeleteAlias, deadline: Deadline) -> Receipt:
        """Remove the alias; one that is gone is a success."""
        raise NotImplementedError

    @hookspec
    def registry_find_versions(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> tuple[ModelVersion, ...]:
        """Find the versions of the model that carry the creation's ``op_id``, lowest first."""
        raise NotImplementedError

    @hookspec
    def registry_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Find, in all models, the version numbers with this ``op_id``."""
        raise NotImplementedError

    @hookspec
    def registry_get_registered_model(self, name: str, deadline: Deadline) -> RegisteredModel:
        """Get a registered model with its aliases; raises ModelNotFoundError."""
        raise NotImplementedError

    @hookspec
    def registry_search_registered_models(
        self, query: ModelQuery, deadline: Deadline
    ) -> Page[RegisteredModel]:
        """List registered models by name."""
        raise NotImplementedError

    @hookspec
    def registry_get_model_version(
        self, name: str, version: str, deadline: Deadline
    ) -> ModelVersion:
        """Get a version by number; raises ModelNotFoundError."""
        raise NotImplementedError

    @hookspec
    def registry_get_version_by_alias(
        self, name: str, alias: str, deadline: Deadline
    ) -> ModelVersion:
        """Get the version that an alias points to; raises ModelNotFoundError."""
        raise NotImplementedError

    @hookspec
    def registry_search_versions(
        self, query: VersionQuery, deadline: Deadline
    ) -> Page[ModelVersion]:
        """Search versions; tag values are data, whatever characters they hold.

        Each version is whole, with its tags and its aliases.
        """
        raise NotImplementedError

    @hookspec
    def registry_download_model(
        self, name: str, version: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Download a version's files into the folder ``destination`` and return it."""
        raise NotImplementedError


class Journal:
    """Where operations wait for the primary.

    All times and leases are by the journal's own clock. Every hook raises
    :class:`~hokusai_core.errors.JournalUnavailableError` where the store cannot be reached.
    """

    @hookspec
    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        """Store the entries in one transaction, in order; durable when the call returns.

        An ``op_id`` that is known (in any state) is passed over, so a repeat is harmless. Where the
        (single) entry is a LogArtifact, ``open_content`` gives its bytes, which are stored in the
        same transaction. Returns the number of entries that are new.
        """
        raise NotImplementedError

    @hookspec
    def journal_note(self, operation: AnyOperation, destination: str, primary_id: str) -> bool:
        """Remember what the primary has already, as a delivered entry with its mapping.

        Returns whether it is new.
        """
        raise NotImplementedError

    @hookspec
    def journal_claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        """Claim the stream of that destination that is due first; () where none is.

        Due is a stream with waiting operations whose time has come, that nobody else holds, and
        whose first operation is not held back: by a key of its ``requires`` that an earlier entry
        provides which is waiting or dead, or of its ``after`` that one provides which is waiting.
        The operations handed out end before the first that is held back, or is unknown to this
        release. The claim raises the fence, and marks the operations as possibly applied; that, too,
        is committed when the call returns. They show ``maybe_applied`` as it was before.
        """
        raise NotImplementedError

    @hookspec
    def journal_renew(self, claim: Claim) -> bool:
        """Begin the lease anew; raises LeaseLostError where the fence is no longer the claim's."""
        raise NotImplementedError

    @hookspec
    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        """Record outcomes and id mappings in one transaction, and begin the lease anew.

        Content of delivered artifacts is removed. Streams that waited for a key which is now
        provided become due. Raises LeaseLostError, changing nothing, where the fence is no longer
        the claim's. Returns the number settled.
        """
        raise NotImplementedError

    @hookspec
    def journal_release(self, claim: Claim, release: Release) -> bool:
        """End the claim; raises LeaseLostError where the fence is no longer the claim's."""
        raise NotImplementedError

    @hookspec
    def journal_unsettled(self, streams: tuple[str, ...]) -> int:
        """Count the waiting operations of these streams, all destinations together."""
        raise NotImplementedError

    @hookspec
    def journal_resolve(self, provisional_ids: tuple[str, ...]) -> dict[str, str]:
        """Give the primary ids that are known for these provisional ids."""
        raise NotImplementedError

    @hookspec
    def journal_aliases(self, primary_ids: tuple[str, ...]) -> dict[str, str]:
        """Give the provisional ids of runs, experiments and logged models with these primary ids."""
        raise NotImplementedError

    @hookspec
    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        """Read entries in the order of their sequence."""
        raise NotImplementedError

    @hookspec
    def journal_open_content(self, op_id: str) -> BinaryIO:
        """Open the stored bytes of a waiting LogArtifact; raises NotFoundError."""
        raise NotImplementedError

    @hookspec
    def journal_backlog(self, destination: str) -> Backlog:
        """Give the figures; ``destination`` selects the streams that are listed ("" for all)."""
        raise NotImplementedError

    @hookspec
    def journal_retry(self, op_ids: tuple[str, ...]) -> int:
        """Let dead letters wait again, in their old places; returns how many there were.

        They carry ``retried_at`` from now on, so that the worker looks whether a later operation
        has superseded them.
        """
        raise NotImplementedError

    @hookspec
    def journal_discard(self, op_ids: tuple[str, ...]) -> int:
        """Discard dead or waiting operations; returns how many there were."""
        raise NotImplementedError

    @hookspec
    def journal_prune(self, retention_seconds: float) -> int:
        """Delete tracking entries that were delivered, discarded or superseded so long ago.

        Their ``op_id`` and mappings stay for ever, as do registry entries, which look-ups in an
        outage need, and entries of streams with a dead letter, or with a retried one that is not
        settled: its worker looks at what came later. Returns how many entries went: a bounded number,
        the oldest first, so that a caller with more to delete calls again.
        """
        raise NotImplementedError

    @hookspec
    def journal_move(self, source: str, target: str) -> int:
        """Give all that is of one destination to another, in one transaction.

        Entries in every state, with their keys and waits; streams; id mappings. Streams of the same
        name become one, in the order of the sequence, with a fence above both. Returns how many
        entries went, 0 where nothing is of the source: a repeat is harmless.

        Raises JournalBusyError, changing nothing, while a worker holds one of these streams.
        """
        raise NotImplementedError

    @hookspec
    def journal_upgrade(self) -> str:
        """Bring the store's schema up to this release; returns what it is now. Repeats are harmless."""
        raise NotImplementedError

    @hookspec
    def journal_reset_after_fork(self) -> bool:
        """Forget connections that belong to the parent process. Returns whether there were any."""
        raise NotImplementedError

    @hookspec
    def journal_close(self) -> bool:
        """Close all connections. A later call opens new ones."""
        raise NotImplementedError


SPECIFICATIONS: dict[str, type] = {
    "tracking": TrackingBackend,
    "registry": RegistryBackend,
    "journal": Journal,
}
"""Each specification by the capability that declares it."""

CAPABILITIES: dict[str, str] = {
    "tracking": "Keeps experiments, runs, metrics, params and tags.",
    "registry": "Keeps registered models, versions, tags and aliases.",
    "journal": "Keeps operations that wait for a primary, so that it can serve as the fallback.",
    "artifacts": "Stores files; without it, logging a file is refused before anything is written.",
    "logged_models": "Keeps MLflow 3 logged models; without it, models are a run's artifacts.",
}
"""Every capability that a plugin may declare, with what it means."""

_BEHIND: dict[str, tuple[str, ...]] = {
    "artifacts": (
        "tracking_log_artifact",
        "tracking_list_artifacts",
        "tracking_download_artifact",
        "registry_download_model",
    ),
    "logged_models": (
        "tracking_create_logged_model",
        "tracking_finalize_logged_model",
        "tracking_find_logged_models",
        "tracking_find_run_models",
        "tracking_get_logged_model",
    ),
}


def needed_for(hook: str) -> frozenset[str]:
    """Give the capabilities that a plugin has to declare for a hook to be called: one or two."""
    optional = {capability for capability, hooks in _BEHIND.items() if hook in hooks}
    return frozenset({hook.partition("_")[0], *optional})
