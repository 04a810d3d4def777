"""Reads of runs: the primary's answer with what waits laid over it, or what is known without it."""

import shutil
import tempfile
from pathlib import Path

from hokusai_core.entities import FileInfo, Metric, Run
from hokusai_core.errors import InvalidInputError, NotFoundError, TransientError
from hokusai_core.incomplete import warn_of_incomplete
from hokusai_core.journal import QueuedOperation
from hokusai_core.logged_sources import last_named
from hokusai_core.operations import (
    ArtifactOwner,
    CreateLoggedModel,
    LogArtifact,
)
from hokusai_core.overlay import (
    merge_metric_history,
    overlay_artifacts,
    overlay_run,
)
from hokusai_core.queries import RunQuery
from hokusai_core.reading import KEPT, WAITING, Sources, any_waiting, operations_of
from hokusai_core.run_search import RunSearch
from hokusai_core.snapshots import RunSnapshots


class RunReader:
    """Answers questions about runs.

    Args:
        sources: Primary and journal.
        snapshots: What this process's handles know of runs that began in health.
    """

    def __init__(self, sources: Sources, snapshots: RunSnapshots) -> None:
        self._sources = sources
        self._snapshots = snapshots
        self._search = RunSearch(sources, snapshots)

    def get_run(self, run_id: str) -> Run:
        """Get a run under the primary's id where that is known.

        Raises:
            NotFoundError: Nobody knows it.
            TransientError: The primary is away, and nothing is known without it.
        """
        primary_id, ids = self._sources.names(run_id)
        streams = tuple(f"run/{name}" for name in ids)
        entries = self._sources.entries(streams=streams)
        base: Run | None = None
        failure: Exception | None = None
        if primary_id:
            try:
                base = self._sources.ask(
                    lambda backend: backend.tracking.tracking_get_run(
                        primary_id, self._sources.deadline()
                    )
                )
            except (TransientError, NotFoundError) as reason:
                failure = reason
        begun_here = False
        if base is None:
            entries = self._sources.entries(streams=streams, states=KEPT)
            begun_here = any(
                entry.kind == "create_run" and entry.state == "waiting" for entry in entries
            )
            # Once the creation was delivered, later writes may have gone to the primary directly.
            base = None if begun_here else self._snapshots.find(ids)
        if base is None and not entries:
            raise failure or NotFoundError(f"Run {run_id} is neither on the primary nor waiting.")
        run = overlay_run(base, operations_of(entries), ids)
        changes: dict[str, object] = {
            "sync_state": self._sync_state(entries, ids),
        }
        if failure is not None or primary_id is None:
            changes |= {"source": "fallback", "complete": begun_here}
        return run.model_copy(update=changes)

    def _sync_state(self, entries: tuple[QueuedOperation, ...], ids: frozenset[str]) -> str:
        if any_waiting(entries):
            return "pending"
        lanes = tuple(f"artifacts/{name}" for name in ids)
        if self._sources.entries(streams=lanes):
            return "pending"
        created_dead = any(
            entry.state == "dead" and entry.kind == "create_run" for entry in entries
        )
        return "dead" if created_dead else "delivered"

    def search_runs(
        self, query: RunQuery, experiment_name: str = "", failure: TransientError | None = None
    ) -> tuple[Run, ...]:
        """Search runs, with what waits laid over them; at most ``query.max_results``.

        Where the primary cannot be asked, a WARNING says that the answer is not complete.

        Args:
            query: Its ``experiment_ids`` may be provisional, too.
            experiment_name: Adds the runs that wait for an experiment of this name.
            failure: Why the primary could not even be asked for the experiment; it is not asked then.

        Raises:
            UnsupportedFilterError: The filter is outside the documented subset, and something
                waits or the primary is away.
            TransientError: The primary is away, and there is no journal to answer from.
        """
        return self._search.search(query, experiment_name, failure)

    def metric_history(self, run_id: str, key: str) -> tuple[Metric, ...]:
        """Get every known point of a metric, in the order of time.

        Where the primary cannot be asked, a WARNING says that the answer is not complete.

        Raises:
            TransientError: The primary is away, and no point is known without it.
        """
        primary_id, ids = self._sources.names(run_id)
        streams = tuple(f"run/{name}" for name in ids)
        points: tuple[Metric, ...] = ()
        states = WAITING
        failure: TransientError | None = None
        if primary_id:
            try:
                points = self._sources.ask(
                    lambda backend: backend.tracking.tracking_get_metric_history(
                        primary_id, key, self._sources.deadline()
                    )
                )
            except TransientError as reason:
                failure, states = reason, KEPT
        entries = self._sources.entries(streams=streams, kinds=("log_batch",), states=states)
        merged = merge_metric_history(points, operations_of(entries), key)
        if failure:
            if not merged:
                raise failure
            warn_of_incomplete(f"points of metric {key!r}", self._sources.destination)
        return merged

    def list_artifacts(self, owner: ArtifactOwner, run_id: str, path: str) -> tuple[FileInfo, ...]:
        """List a folder of a run's or a logged model's artifacts, with those that wait.

        Where the primary cannot be asked, a WARNING says that the answer is not complete.

        Raises:
            TransientError: The primary is away, and no file of the folder waits.
        """
        found, complete = self._listed(owner, run_id, path)
        if not complete:
            warn_of_incomplete("artifacts", self._sources.destination)
        return found

    def _listed(
        self, owner: ArtifactOwner, run_id: str, path: str
    ) -> tuple[tuple[FileInfo, ...], bool]:
        """List a folder, and say whether the primary was asked for what it has."""
        primary_id, _ = self._sources.names(owner.id)
        waiting = operations_of(self._waiting_files(owner, run_id))
        found: tuple[FileInfo, ...] = ()
        complete = True
        if primary_id:
            known = owner.model_copy(update={"id": primary_id})
            try:
                found = self._sources.ask(
                    lambda backend: backend.tracking.tracking_list_artifacts(
                        known, path, self._sources.idle_deadline()
                    ),
                    artifacts=True,
                )
            except TransientError:
                complete = False
                if not overlay_artifacts((), waiting, path):
                    raise
        return overlay_artifacts(found, waiting, path), complete

    def download_artifacts(
        self, owner: ArtifactOwner, run_id: str, path: str, destination: Path
    ) -> Path:
        """Download a file, or a folder with all it holds ("" is everything).

        Where the primary cannot be asked, a WARNING says that the folder is not complete.

        Returns:
            The file or folder under ``destination`` that was written.

        Raises:
            InvalidInputError: The destination is no folder, and none can be made there.
            NotFoundError: There is no such artifact.
            TransientError: The primary is away, and has what was asked for.
        """
        try:
            destination.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise InvalidInputError(
                f"Cannot download into {str(destination)!r}: it is not a folder, and none can be made "
                f"there ({cause.strerror or cause}). Name a folder."
            ) from cause
        waiting = {
            entry.operation.path: entry
            for entry in self._waiting_files(owner, run_id)
            if isinstance(entry.operation, LogArtifact)
        }
        files, complete = (
            ([path], True) if path in waiting else self._files_below(owner, run_id, path)
        )
        if not complete:
            warn_of_incomplete("artifacts", self._sources.destination)
        if not files:
            files = [path]
        for file in files:
            target = destination / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if file in waiting:
                self._copy_waiting(waiting[file], target)
            else:
                self._download(owner, file, target)
        return destination / path if path else destination

    def run_of_logged_model(self, model_id: str) -> str | None:
        """Give the run that logged a model; None where it has none.

        Raises:
            NotFoundError: There is no such logged model.
            TransientError: The primary is away, and the model does not wait here.
        """
        for entry in self._sources.entries(kinds=("create_logged_model",), states=KEPT):
            operation = entry.operation
            names = (operation.provisional_id, entry.primary_id) if operation else ()
            if isinstance(operation, CreateLoggedModel) and model_id in names:
                return operation.run_id
        primary_id, _ = self._sources.names(model_id)
        if primary_id is None:
            raise NotFoundError(f"Logged model {model_id} is neither on the primary nor waiting.")
        model = self._sources.ask(
            lambda backend: backend.tracking.tracking_get_logged_model(
                primary_id, self._sources.deadline()
            )
        )
        return model.source_run_id or None

    def logged_model_named(self, run_id: str, name: str) -> str | None:
        """Give the latest model that a run logged under a name; None where there is none.

        Raises:
            TransientError: The primary did not say, and none waits.
        """
        primary_id, ids = self._sources.names(run_id)
        for entry in reversed(
            self._sources.entries(
                streams=tuple(f"artifacts/{each}" for each in ids), kinds=("create_logged_model",)
            )
        ):
            operation = entry.operation
            if isinstance(operation, CreateLoggedModel) and operation.name == name:
                return operation.provisional_id
        if primary_id is None:
            return None
        try:
            models = self._sources.ask(
                lambda backend: (
                    backend.tracking.tracking_find_run_models(primary_id, self._sources.deadline())
                    if backend.can("logged_models")
                    else ()
                )
            )
        except NotFoundError:
            return None
        return last_named(models, name)

    def _files_below(self, owner: ArtifactOwner, run_id: str, path: str) -> tuple[list[str], bool]:
        """List the files of a folder and below it; and say whether the primary was asked for all."""
        files: list[str] = []
        listed, complete = self._listed(owner, run_id, path)
        for entry in listed:
            if entry.path == path:
                return [path], complete
            if entry.is_dir:
                below, all_below = self._files_below(owner, run_id, entry.path)
                files.extend(below)
                complete = complete and all_below
            else:
                files.append(entry.path)
        return files, complete

    def _waiting_files(self, owner: ArtifactOwner, run_id: str) -> tuple[QueuedOperation, ...]:
        _, runs = self._sources.names(run_id)
        _, owners = self._sources.names(owner.id)
        streams = tuple(f"artifacts/{name}" for name in runs)
        entries = self._sources.entries(streams=streams, kinds=("log_artifact",))
        return tuple(
            entry
            for entry in entries
            if isinstance(entry.operation, LogArtifact)
            and entry.operation.owner.kind == owner.kind
            and entry.operation.owner.id in owners
        )

    def _copy_waiting(self, entry: QueuedOperation, target: Path) -> None:
        if self._sources.fallback is None:
            raise NotFoundError(f"The bytes of {target.name} are not in a journal.")
        with self._sources.fallback.open_content(entry.op_id) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def _download(self, owner: ArtifactOwner, path: str, target: Path) -> None:
        primary_id, _ = self._sources.names(owner.id)
        if primary_id is None:
            raise NotFoundError(f"There is no artifact {path!r} of {owner.kind} {owner.id}.")
        known = owner.model_copy(update={"id": primary_id})
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            partial = Path(folder) / "download"
            self._sources.ask(
                lambda backend: backend.tracking.tracking_download_artifact(
                    known, path, partial, self._sources.idle_deadline()
                ),
                artifacts=True,
            )
            partial.replace(target)
