"""Experiments, runs and artifacts.

``experiments.jsonl`` has a line for each experiment. A run is the folder ``runs/<id>``: the first
line of ``run.jsonl`` is its creation, each other line one write to it. A run's id is the ``op_id`` of
its creation, so that a creation that is repeated finds the first one.
"""

import shutil
from pathlib import Path

from hokusai_backend_files.lines import Folder, Line
from hokusai_core.backend_tools import (
    OP_ID_TAG,
    Deadline,
    OpenContent,
    folder_listing,
    hookimpl,
    in_order,
    latest_points,
    page_of,
    page_offset,
    select_runs,
)
from hokusai_core.entities import (
    BackendHealth,
    Experiment,
    FileInfo,
    Metric,
    Page,
    Receipt,
    Run,
    RunData,
    RunInfo,
)
from hokusai_core.errors import ConflictError, NotFoundError, RejectedError
from hokusai_core.operations import (
    RUN_NAME_TAG,
    ArtifactOwner,
    CreateExperiment,
    CreateRun,
    LogArtifact,
    LogBatch,
    Operation,
    UpdateRun,
)
from hokusai_core.queries import RunQuery


class FilesTracking:
    """The specification ``TrackingBackend`` over a folder."""

    folder: Folder

    @hookimpl
    def tracking_check(self, deadline: Deadline) -> BackendHealth:
        with self.folder.writing(deadline):
            return BackendHealth(description=f"files in {self.folder.root}")

    @hookimpl
    def tracking_create_experiment(
        self, operation: CreateExperiment, deadline: Deadline
    ) -> Receipt:
        with self.folder.writing(deadline):
            experiments = self._experiments()
            for experiment in experiments:
                if experiment.name == operation.name:
                    return Receipt(primary_id=experiment.experiment_id, created=False)
            made = Experiment(
                experiment_id=str(len(experiments) + 1),
                name=operation.name,
                tags=operation.tags,
                creation_time=operation.created_at,
            )
            self.folder.append(self._experiments_file, made.model_dump())
            return Receipt(primary_id=made.experiment_id)

    @hookimpl
    def tracking_create_run(self, operation: CreateRun, deadline: Deadline) -> Receipt:
        with self.folder.writing(deadline):
            self.tracking_get_experiment(operation.experiment_id, deadline)
            known = bool(self.folder.read(self._run_file(operation.op_id)))
            if not known:
                self.folder.append(self._run_file(operation.op_id), _line(operation))
            return Receipt(primary_id=operation.op_id, created=not known)

    @hookimpl
    def tracking_log_batch(self, operation: LogBatch, deadline: Deadline) -> Receipt:
        with self.folder.writing(deadline):
            params = self._run(operation.run_id).data.params
            for key, value in operation.params.items():
                if params.get(key, value) != value:
                    raise ConflictError(
                        f"Param {key!r} of run {operation.run_id} is {params[key]!r} and cannot "
                        f"become {value!r}."
                    )
            self.folder.append(self._run_file(operation.run_id), _line(operation))
            return Receipt()

    @hookimpl
    def tracking_update_run(self, operation: UpdateRun, deadline: Deadline) -> Receipt:
        with self.folder.writing(deadline):
            self._run(operation.run_id)
            self.folder.append(self._run_file(operation.run_id), _line(operation))
            return Receipt()

    @hookimpl
    def tracking_log_artifact(
        self, operation: LogArtifact, open_content: OpenContent, deadline: Deadline
    ) -> Receipt:
        with self.folder.writing(deadline), open_content() as content:
            self._run(operation.run_id)
            self.folder.replace(self._file(operation.owner, operation.path), content)
            return Receipt()

    @hookimpl
    def tracking_find_experiments(self, name: str, deadline: Deadline) -> tuple[Experiment, ...]:
        return tuple(each for each in self._experiments() if each.name == name)

    @hookimpl
    def tracking_get_experiment(self, experiment_id: str, deadline: Deadline) -> Experiment:
        for experiment in self._experiments():
            if experiment.experiment_id == experiment_id:
                return experiment
        raise NotFoundError(f"There is no experiment {experiment_id!r} in {self.folder.root}.")

    @hookimpl
    def tracking_find_runs(self, operation: CreateRun, deadline: Deadline) -> tuple[Run, ...]:
        there = self.folder.read(self._run_file(operation.op_id))
        return (_run_of(there),) if there else ()

    @hookimpl
    def tracking_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        return (op_id,) if self.folder.read(self._run_file(op_id)) else ()

    @hookimpl
    def tracking_get_run(self, run_id: str, deadline: Deadline) -> Run:
        return self._run(run_id)

    @hookimpl
    def tracking_search_runs(self, query: RunQuery, deadline: Deadline) -> Page[Run]:
        runs = [
            _run_of(lines)
            for path in sorted(self.folder.root.glob("runs/*/run.jsonl"))
            if (lines := self.folder.read(path))
        ]
        first = page_offset(query.page_token)
        return page_of(select_runs(runs, query), first, query.max_results)

    @hookimpl
    def tracking_get_metric_history(
        self, run_id: str, key: str, deadline: Deadline
    ) -> tuple[Metric, ...]:
        points = _points(self._lines(run_id))
        return in_order(point for point in points if point.key == key)

    @hookimpl
    def tracking_list_artifacts(
        self, owner: ArtifactOwner, path: str, deadline: Deadline
    ) -> tuple[FileInfo, ...]:
        root = self._file(owner, "")
        files = [each for each in root.rglob("*") if each.is_file()]
        sizes = ((each.relative_to(root).as_posix(), each.stat().st_size) for each in files)
        return folder_listing(sizes, path)

    @hookimpl
    def tracking_download_artifact(
        self, owner: ArtifactOwner, path: str, destination: Path, deadline: Deadline
    ) -> Path:
        source = self._file(owner, path)
        if not source.is_file():
            raise NotFoundError(f"The {owner.kind} {owner.id} has no artifact {path!r}.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
        return destination

    @property
    def _experiments_file(self) -> Path:
        return self.folder.root / "experiments.jsonl"

    def _experiments(self) -> list[Experiment]:
        return [
            Experiment.model_validate(line) for line in self.folder.read(self._experiments_file)
        ]

    def _run_file(self, run_id: str) -> Path:
        if not run_id.isalnum():
            raise NotFoundError(f"There is no run {run_id!r} in {self.folder.root}.")
        return self.folder.root / "runs" / run_id / "run.jsonl"

    def _file(self, owner: ArtifactOwner, path: str) -> Path:
        root = self._run_file(owner.id).parent / "artifacts"
        if any(part in ("", ".", "..") for part in path.split("/")) and path:
            raise RejectedError(f"The artifact path {path!r} leads out of its root.")
        return root / path

    def _lines(self, run_id: str) -> list[Line]:
        lines = self.folder.read(self._run_file(run_id))
        if not lines:
            raise NotFoundError(f"There is no run {run_id!r} in {self.folder.root}.")
        return lines

    def _run(self, run_id: str) -> Run:
        return _run_of(self._lines(run_id))


def _line(operation: Operation) -> Line:
    return {"kind": operation.kind, "is": operation.model_dump_json()}


def _points(lines: list[Line]) -> list[Metric]:
    batches = (LogBatch.model_validate_json(line["is"]) for line in lines[1:] if _is_batch(line))
    return [point for batch in batches for point in batch.metrics]


def _is_batch(line: Line) -> bool:
    return bool(line["kind"] == "log_batch")


def _run_of(lines: list[Line]) -> Run:
    """Play a run's lines."""
    creation = CreateRun.model_validate_json(lines[0]["is"])
    tags = creation.tags | {OP_ID_TAG: creation.op_id, RUN_NAME_TAG: creation.run_name}
    params: dict[str, str] = {}
    changes: dict[str, object] = {"run_name": creation.run_name}
    for line in lines[1:]:
        if _is_batch(line):
            batch = LogBatch.model_validate_json(line["is"])
            params |= batch.params
            tags |= batch.tags
            if RUN_NAME_TAG in batch.tags:
                changes["run_name"] = batch.tags[RUN_NAME_TAG]
        else:
            update = UpdateRun.model_validate_json(line["is"])
            fields = update.model_dump(include={"status", "end_time", "run_name"})
            changes |= {name: value for name, value in fields.items() if value is not None}
    latest = latest_points(_points(lines))
    info = RunInfo(
        run_id=creation.op_id,
        experiment_id=creation.experiment_id,
        start_time=creation.start_time,
        user_id=creation.tags.get("mlflow.user", ""),
    )
    return Run(
        info=info.model_copy(update=changes),
        data=RunData(
            metrics={key: point.value for key, point in latest.items()}, params=params, tags=tags
        ),
        latest_metrics=tuple(latest[key] for key in sorted(latest)),
    )
