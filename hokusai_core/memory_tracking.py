"""Experiments, runs, artifacts and logged models in memory, with MLflow's semantics."""

import io
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hokusai_core import filters
from hokusai_core.entities import (
    Experiment,
    FileInfo,
    LoggedModel,
    Metric,
    Page,
    Receipt,
    Run,
    RunData,
    RunInfo,
)
from hokusai_core.errors import ConflictError, NotFoundError, RejectedError
from hokusai_core.hookspecs import OpenContent
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.memory_listings import folder_listing, page_of, page_offset
from hokusai_core.memory_metrics import PointIdentity, in_order, is_later, point_identity
from hokusai_core.operations import (
    RUN_NAME_TAG,
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateRun,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    UpdateRun,
)
from hokusai_core.queries import RunQuery


@dataclass
class _RunRecord:
    info: RunInfo
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: dict[str, dict[PointIdentity, Metric]] = field(default_factory=dict)
    latest: dict[str, Metric] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    complete: bool = True

    def add(self, point: Metric) -> None:
        self.points.setdefault(point.key, {}).setdefault(point_identity(point), point)
        known = self.latest.get(point.key)
        if known is None or is_later(point, known):
            self.latest[point.key] = point

    def entity(self) -> Run:
        latest = tuple(self.latest[key] for key in sorted(self.latest))
        data = RunData(
            metrics={point.key: point.value for point in latest},
            params=dict(self.params),
            tags=dict(self.tags),
        )
        return Run(info=self.info, data=data, latest_metrics=latest, complete=self.complete)


@dataclass(frozen=True)
class _File:
    size: int
    content: bytes | None


_Files = dict[str, _File]


class TrackingTables:
    """The tracking half of :class:`~hokusai_core.memory.MemoryStore`; thread-safe.

    Args:
        preserve_ids: Whether a creation keeps its provisional id, and a write to something unknown
            makes a bare stub of it instead of raising.

    """

    def __init__(self, *, preserve_ids: bool = False) -> None:
        self.preserve_ids = preserve_ids
        self._lock = threading.RLock()
        self._experiments: dict[str, Experiment] = {}
        self._runs: dict[str, _RunRecord] = {}
        self._files: dict[tuple[str, str], _Files] = {}
        self._logged_models: dict[str, LoggedModel] = {}
        self._experiment_count = 0

    # Writes

    def create_experiment(self, operation: CreateExperiment) -> Receipt:
        """Get or create the experiment; RejectedError where one of that name is deleted."""
        with self._lock:
            for experiment in self.find_experiments(operation.name):
                if experiment.lifecycle_stage == "deleted":
                    raise RejectedError(
                        f"Experiment {operation.name!r} is deleted. Restore it or take another."
                    )
                return Receipt(primary_id=experiment.experiment_id, created=False)
            self._experiment_count += 1
            identifier = self._new_id(operation.provisional_id, str(self._experiment_count))
            self._experiments[identifier] = Experiment(
                experiment_id=identifier,
                name=operation.name,
                tags=dict(operation.tags),
                creation_time=operation.created_at,
            )
            return Receipt(primary_id=identifier)

    def create_run(self, operation: CreateRun) -> Receipt:
        """Create a run; a repeat makes another one."""
        with self._lock:
            experiment = self._experiments.get(operation.experiment_id)
            if experiment is None and not self.preserve_ids:
                raise NotFoundError(f"Experiment {operation.experiment_id!r} does not exist.")
            if experiment is not None and experiment.lifecycle_stage == "deleted":
                raise RejectedError(
                    f"Experiment {experiment.name!r} ({experiment.experiment_id}) is deleted. "
                    "Restore it, or use another one."
                )
            identifier = self._new_id(operation.provisional_id, uuid.uuid4().hex)
            tags = operation.tags | {
                OP_ID_TAG: operation.op_id,
                RUN_NAME_TAG: operation.tags.get(RUN_NAME_TAG, operation.run_name),
            }
            info = RunInfo(
                run_id=identifier,
                experiment_id=operation.experiment_id,
                run_name=operation.run_name,
                start_time=operation.start_time,
                user_id=operation.tags.get("mlflow.user", ""),
            )
            self._runs[identifier] = _RunRecord(info, tags)
            return Receipt(primary_id=identifier)

    def log_batch(self, operation: LogBatch) -> Receipt:
        """Store a batch, whole or not at all; ConflictError for a param with another value."""
        with self._lock:
            run = self._active_run(operation.run_id)
            for name, value in operation.params.items():
                if run.params.get(name, value) != value:
                    raise ConflictError(
                        f"Param {name!r} of run {operation.run_id} is {run.params[name]!r} and "
                        f"cannot become {value!r}: params do not change. Use another key or a tag."
                    )
            run.params.update(operation.params)
            for point in operation.metrics:
                run.add(point)
            run.tags.update(operation.tags)
            if RUN_NAME_TAG in operation.tags:
                run.info = run.info.model_copy(update={"run_name": operation.tags[RUN_NAME_TAG]})
            return Receipt()

    def update_run(self, operation: UpdateRun) -> Receipt:
        """Set what is not None of status, end time and name."""
        with self._lock:
            run = self._active_run(operation.run_id)
            wished = {
                "status": operation.status,
                "end_time": operation.end_time,
                "run_name": operation.run_name,
            }
            changes = {name: value for name, value in wished.items() if value is not None}
            run.info = run.info.model_copy(update=changes)
            if operation.run_name is not None:
                run.tags[RUN_NAME_TAG] = operation.run_name
            return Receipt()

    def log_artifact(self, operation: LogArtifact, open_content: OpenContent | None) -> Receipt:
        """Store a file over what is there; without ``open_content`` only its name and size."""
        content = None
        if open_content is not None:
            with open_content() as stream:
                content = stream.read()
        with self._lock:
            self._run(operation.run_id)
            if operation.owner.kind == "model" and not self.preserve_ids:
                self.get_logged_model(operation.owner.id)
            size = operation.size if content is None else len(content)
            key = (operation.owner.kind, operation.owner.id)
            self._files.setdefault(key, {})[operation.path] = _File(size, content)
            return Receipt()

    def create_logged_model(self, operation: CreateLoggedModel) -> Receipt:
        """Create a logged model under a run; a repeat makes another one."""
        with self._lock:
            self._active_run(operation.run_id)
            identifier = self._new_id(operation.provisional_id, f"m-{uuid.uuid4().hex}")
            self._logged_models[identifier] = LoggedModel(
                model_id=identifier,
                experiment_id=operation.experiment_id,
                name=operation.name,
                source_run_id=operation.run_id,
                tags=operation.tags | {OP_ID_TAG: operation.op_id},
                creation_timestamp=operation.created_at,
            )
            return Receipt(primary_id=identifier)

    def finalize_logged_model(self, operation: FinalizeLoggedModel) -> Receipt:
        """Mark a logged model READY and, once, as an output of its run."""
        with self._lock:
            run = self._active_run(operation.run_id)
            model = self._logged_models.get(operation.model_id)
            if model is None and self.preserve_ids:
                model = LoggedModel(
                    model_id=operation.model_id,
                    experiment_id=run.info.experiment_id,
                    name="",
                    source_run_id=operation.run_id,
                )
            elif model is None:
                raise NotFoundError(f"Logged model {operation.model_id!r} does not exist.")
            ready = model.model_copy(update={"status": "READY"})
            self._logged_models[operation.model_id] = ready
            if operation.model_id not in run.outputs:
                run.outputs.append(operation.model_id)
            return Receipt()

    # What another client of the same store does

    def delete_run(self, run_id: str) -> None:
        """Delete a run, as somebody else would: it stays readable and takes no more writes."""
        self._set_run_stage(run_id, "deleted")

    def restore_run(self, run_id: str) -> None:
        """Make a deleted run active again."""
        self._set_run_stage(run_id, "active")

    def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment, as somebody else would: it keeps its name and takes no runs."""
        with self._lock:
            experiment = self.get_experiment(experiment_id)
            self._experiments[experiment_id] = experiment.model_copy(
                update={"lifecycle_stage": "deleted"}
            )

    def seed_experiment(self, experiment: Experiment) -> None:
        """Put an experiment there as it is."""
        with self._lock:
            self._experiments[experiment.experiment_id] = experiment

    def seed_run(self, run: Run) -> None:
        """Put a run there as it is, with its latest metric points."""
        with self._lock:
            record = _RunRecord(
                run.info, dict(run.data.tags), dict(run.data.params), complete=run.complete
            )
            for point in run.latest_metrics:
                record.add(point)
            self._runs[run.info.run_id] = record

    # Reads

    def find_experiments(self, name: str) -> tuple[Experiment, ...]:
        """Find the experiment of that name, deleted ones included: none or one."""
        with self._lock:
            return tuple(each for each in self._experiments.values() if each.name == name)

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Get an experiment; raises NotFoundError."""
        with self._lock:
            if experiment_id not in self._experiments:
                raise NotFoundError(f"Experiment {experiment_id!r} does not exist.")
            return self._experiments[experiment_id]

    def get_run(self, run_id: str) -> Run:
        """Get a run, deleted ones included; raises NotFoundError."""
        with self._lock:
            if run_id not in self._runs:
                raise _no_run(run_id)
            return self._runs[run_id].entity()

    def find_runs(self, op_id: str) -> tuple[Run, ...]:
        """Find the runs with this ``op_id``, deleted ones too, earliest first."""
        with self._lock:
            return tuple(
                record.entity()
                for record in self._runs.values()
                if record.tags.get(OP_ID_TAG) == op_id
            )

    def runs(self) -> tuple[Run, ...]:
        """Give all runs, deleted ones included, in the order of their creation."""
        with self._lock:
            return tuple(record.entity() for record in self._runs.values())

    def search_runs(self, query: RunQuery) -> Page[Run]:
        """Search runs; InvalidInputError for a filter outside the documented subset."""
        first = page_offset(query.page_token)
        found = select_runs(self.runs(), query)
        return page_of(found, first, query.max_results)

    def metric_history(self, run_id: str, key: str) -> tuple[Metric, ...]:
        """Get every point of one metric, by (timestamp, step, value); raises NotFoundError."""
        with self._lock:
            if run_id not in self._runs:
                raise _no_run(run_id)
            return in_order(self._runs[run_id].points.get(key, {}).values())

    def run_outputs(self, run_id: str) -> tuple[str, ...]:
        """Give the ids of the logged models that are outputs of a run."""
        with self._lock:
            return tuple(self._runs[run_id].outputs) if run_id in self._runs else ()

    def find_logged_models(self, op_id: str) -> tuple[LoggedModel, ...]:
        """Find the logged models with this ``op_id``, earliest first."""
        with self._lock:
            models = self._logged_models.values()
            return tuple(model for model in models if model.tags.get(OP_ID_TAG) == op_id)

    def run_models(self, run_id: str) -> tuple[LoggedModel, ...]:
        """Find the logged models of a run, earliest first; raises NotFoundError."""
        with self._lock:
            self.get_run(run_id)
            models = self._logged_models.values()
            return tuple(model for model in models if model.source_run_id == run_id)

    def get_logged_model(self, model_id: str) -> LoggedModel:
        """Get a logged model; raises NotFoundError."""
        with self._lock:
            if model_id not in self._logged_models:
                raise NotFoundError(f"Logged model {model_id!r} does not exist.")
            return self._logged_models[model_id]

    def list_artifacts(self, owner: ArtifactOwner, path: str = "") -> tuple[FileInfo, ...]:
        """List one folder ("" is the root), by path; () where there is nothing."""
        with self._lock:
            files = self._files.get((owner.kind, owner.id), {})
            return folder_listing(((name, file.size) for name, file in files.items()), path)

    def artifact_paths(self, owner: ArtifactOwner) -> tuple[str, ...]:
        """Give the paths of all files of a run or logged model, in the order of their names."""
        with self._lock:
            return tuple(sorted(self._files.get((owner.kind, owner.id), {})))

    def open_artifact(self, owner: ArtifactOwner, path: str) -> BinaryIO:
        """Open one file's bytes; raises NotFoundError."""
        with self._lock:
            file = self._files.get((owner.kind, owner.id), {}).get(path)
        if file is None or file.content is None:
            raise NotFoundError(f"The {owner.kind} {owner.id} has no artifact {path!r} here.")
        return io.BytesIO(file.content)

    def download_artifact(self, owner: ArtifactOwner, path: str, destination: Path) -> Path:
        """Write one file's bytes to the file ``destination``; raises NotFoundError."""
        with self.open_artifact(owner, path) as stream:
            content = stream.read()
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(content)
        return destination

    def _new_id(self, provisional: str | None, primary: str) -> str:
        return provisional if self.preserve_ids and provisional else primary

    def _run(self, run_id: str) -> _RunRecord:
        if run_id not in self._runs:
            if not self.preserve_ids:
                raise _no_run(run_id)
            info = RunInfo(run_id=run_id, experiment_id="")
            self._runs[run_id] = _RunRecord(info, complete=False)
        return self._runs[run_id]

    def _active_run(self, run_id: str) -> _RunRecord:
        run = self._run(run_id)
        if run.info.lifecycle_stage == "deleted":
            raise RejectedError(f"Run {run_id} is deleted and takes no writes. Restore it first.")
        return run

    def _set_run_stage(self, run_id: str, stage: str) -> None:
        with self._lock:
            self.get_run(run_id)
            record = self._runs[run_id]
            record.info = record.info.model_copy(update={"lifecycle_stage": stage})


def select_runs(runs: Iterable[Run], query: RunQuery) -> tuple[Run, ...]:
    """Give the runs that a query asks for, sorted; pages are the caller's business."""
    conditions = filters.parse_filter(query.filter_string)
    orders = filters.parse_order_by(query.order_by)
    stages = {"ACTIVE_ONLY": ("active",), "DELETED_ONLY": ("deleted",)}.get(
        query.view_type, ("active", "deleted")
    )
    chosen = [
        run
        for run in runs
        if run.info.experiment_id in query.experiment_ids
        and run.info.lifecycle_stage in stages
        and filters.matches(run, conditions)
    ]
    return tuple(filters.sort_runs(chosen, orders))


def _no_run(run_id: str) -> NotFoundError:
    return NotFoundError(f"Run {run_id!r} does not exist.")
