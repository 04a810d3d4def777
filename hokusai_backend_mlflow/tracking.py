"""The hooks for experiments and runs."""

from collections.abc import Iterator
from typing import Any

from hokusai_backend_mlflow import convert, filters
from hokusai_backend_mlflow.client import Client
from hokusai_backend_mlflow.destination import NO_SERVER
from hokusai_backend_mlflow.paging import batches, models_with, pages
from hokusai_backend_mlflow.version import server_version
from hokusai_core.clock import Deadline
from hokusai_core.entities import BackendHealth, Experiment, Metric, Page, Receipt, Run
from hokusai_core.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RejectedError,
    TransientError,
)
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.markers import hookimpl
from hokusai_core.operations import CreateExperiment, CreateRun, LogBatch, UpdateRun
from hokusai_core.queries import RunQuery

USER_TAG = "mlflow.user"
_PAGE = 1000
_EXPERIMENTS_PER_SEARCH = 500
_CLOCK_SLACK = 1000


class TrackingHooks:
    """Experiments and runs."""

    _client: Client

    @hookimpl
    def tracking_check(self, deadline: Deadline) -> BackendHealth:
        """Ask for one experiment, so that database and credentials are tried, too.

        A SQLite file that is not there is left to the first write to make.
        """
        description = f"MLflow tracking at {self._client.tracking_shown}"
        if self._client.tracking_file_is_missing:
            description += ", a file that the first write makes"
        else:
            # Before the version, which may be missing: so a silent server is told as one.
            self._client.tracking(deadline).search_experiments(max_results=1)
        version = server_version(self._client.tracking_transport, deadline)
        note = NO_SERVER if self._client.is_default else ""
        return BackendHealth(description=description, version=version, note=note)

    @hookimpl
    def tracking_create_experiment(
        self, operation: CreateExperiment, deadline: Deadline
    ) -> Receipt:
        """Look the name up, and create the experiment where it is not there."""
        from hokusai_backend_mlflow.mlflow_entities import ExperimentTag

        store = self._client.tracking(deadline)
        if found := self._experiment_named(store, operation.name):
            return _active(found)
        tags = [ExperimentTag(key, value) for key, value in operation.tags.items()]
        try:
            made = store.create_experiment(operation.name, tags=tags)
        except AlreadyExistsError:
            if found := self._experiment_named(store, operation.name):
                return _active(found)
            raise
        return Receipt(primary_id=str(convert.made_id(made, "experiment")))

    @hookimpl
    def tracking_create_run(self, operation: CreateRun, deadline: Deadline) -> Receipt:
        """Create the run as a plain client does, the ``op_id`` among its tags."""
        from hokusai_backend_mlflow.mlflow_entities import RunTag

        store = self._client.tracking(deadline)
        tags = {**operation.tags, OP_ID_TAG: operation.op_id}
        try:
            made = store.create_run(
                experiment_id=operation.experiment_id,
                user_id=operation.tags.get(USER_TAG, "unknown"),
                start_time=operation.start_time,
                tags=[RunTag(key, value) for key, value in tags.items()],
                run_name=operation.run_name or None,
            )
        except RejectedError as cause:
            _explain_deleted_experiment(store, operation.experiment_id, cause)
            raise
        return Receipt(primary_id=convert.made_id(made.info.run_id, "run"))

    @hookimpl
    def tracking_log_batch(self, operation: LogBatch, deadline: Deadline) -> Receipt:
        """Send one request, the same as a plain client's for the same values.

        A refused param is compared with what is stored.
        """
        store = self._client.tracking(deadline)
        try:
            _send_batch(store, operation)
        except RejectedError as cause:
            if operation.params:
                _explain_changed_params(store, operation, cause)
            raise
        return Receipt()

    @hookimpl
    def tracking_update_run(self, operation: UpdateRun, deadline: Deadline) -> Receipt:
        """Set status, end time and name in one request."""
        from hokusai_backend_mlflow.mlflow_entities import RunStatus

        status = operation.status and RunStatus.from_string(operation.status)
        self._client.tracking(deadline).update_run_info(
            operation.run_id, status, operation.end_time, operation.run_name
        )
        return Receipt()

    @hookimpl
    def tracking_find_experiments(self, name: str, deadline: Deadline) -> tuple[Experiment, ...]:
        """Find the experiment of that name, deleted ones included."""
        found = self._experiment_named(self._client.tracking(deadline), name)
        return (found,) if found else ()

    @hookimpl
    def tracking_get_experiment(self, experiment_id: str, deadline: Deadline) -> Experiment:
        """Get an experiment."""
        try:
            found = self._client.tracking(deadline).get_experiment(experiment_id)
        except RejectedError as cause:
            # MLflow refuses an id that is no number, which no experiment has.
            raise NotFoundError(f"There is no experiment with id {experiment_id!r}.") from cause
        return convert.experiment(found)

    @hookimpl
    def tracking_find_runs(self, operation: CreateRun, deadline: Deadline) -> tuple[Run, ...]:
        """Find the runs of a creation, narrowed by its start time."""
        condition = (
            f"{filters.with_op_id(operation.op_id)}"
            f" AND attributes.start_time >= {operation.start_time - _CLOCK_SLACK}"
            f" AND attributes.start_time <= {operation.start_time + _CLOCK_SLACK}"
        )
        store = self._client.tracking(deadline)
        runs = [convert.run(run) for run in _all_runs(store, [operation.experiment_id], condition)]
        return tuple(sorted(runs, key=lambda run: (run.info.start_time or 0, run.info.run_id)))

    @hookimpl
    def tracking_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Look through all active experiments."""
        store = self._client.tracking(deadline)
        condition = filters.with_op_id(op_id)
        experiments = [
            str(experiment.experiment_id)
            for experiment in pages(
                lambda token: store.search_experiments(max_results=_PAGE, page_token=token)
            )
        ]
        found: list[str] = []
        for some in batches(experiments, _EXPERIMENTS_PER_SEARCH):
            found += [run.info.run_id for run in _all_runs(store, some, condition)]
            found += [model.model_id for model in models_with(store, some, condition)]
        return tuple(found)

    @hookimpl
    def tracking_get_run(self, run_id: str, deadline: Deadline) -> Run:
        """Get a run."""
        return convert.run(self._client.tracking(deadline).get_run(run_id))

    @hookimpl
    def tracking_search_runs(self, query: RunQuery, deadline: Deadline) -> Page[Run]:
        """Search runs, one page."""
        from hokusai_backend_mlflow.mlflow_entities import ViewType

        try:
            found = self._client.tracking(deadline).search_runs(
                list(query.experiment_ids),
                query.filter_string,
                ViewType.from_string(query.view_type.lower()),
                query.max_results,
                list(query.order_by),
                query.page_token or None,
            )
        except RejectedError as cause:
            raise InvalidInputError(f"MLflow does not understand the search: {cause}") from cause
        return Page(
            items=tuple(convert.run(run) for run in found), next_page_token=found.token or ""
        )

    @hookimpl
    def tracking_get_metric_history(
        self, run_id: str, key: str, deadline: Deadline
    ) -> tuple[Metric, ...]:
        """Get every point of a metric."""
        store = self._client.tracking(deadline)
        points = (
            convert.metric(point)
            for point in pages(
                lambda token: store.get_metric_history(
                    run_id, key, **({"page_token": token} if token else {})
                )
            )
        )
        return tuple(sorted(points, key=lambda point: (point.timestamp, point.step)))

    def _experiment_named(self, store: Any, name: str) -> Experiment | None:
        try:
            found = store.get_experiment_by_name(name)
        except NotFoundError:
            return None
        return convert.experiment(found) if found else None


def _all_runs(store: Any, experiment_ids: list[str], condition: str) -> Iterator[Any]:
    from hokusai_backend_mlflow.mlflow_entities import ViewType

    return pages(
        lambda token: store.search_runs(
            experiment_ids, condition, ViewType.ALL, _PAGE, ["attributes.start_time ASC"], token
        )
    )


def _active(experiment: Experiment) -> Receipt:
    """Give the receipt of an experiment that was found; one that is deleted is refused."""
    if experiment.lifecycle_stage != "active":
        raise RejectedError(
            f"The experiment {experiment.name!r} (id {experiment.experiment_id}) is deleted. "
            f"Restore it with `mlflow experiments restore -x {experiment.experiment_id}`, or "
            "choose another name."
        )
    return Receipt(primary_id=experiment.experiment_id, created=False)


def _explain_deleted_experiment(store: Any, experiment_id: str, refusal: RejectedError) -> None:
    try:
        experiment = convert.experiment(store.get_experiment(experiment_id))
    except (TransientError, NotFoundError):
        return
    try:
        _active(experiment)
    except RejectedError as clear:
        raise clear from refusal


def _send_batch(store: Any, operation: LogBatch) -> None:
    """Send a single metric, param or tag to its own endpoint, as MLflow's client does, else a batch."""
    from hokusai_backend_mlflow.mlflow_entities import Metric as MlflowMetric
    from hokusai_backend_mlflow.mlflow_entities import Param, RunTag
    from hokusai_backend_mlflow.stores import BoundedTrackingStore

    alone = len(operation.metrics) + len(operation.params) + len(operation.tags) == 1
    if not alone and isinstance(store, BoundedTrackingStore):
        store.send_batch(operation)
        return
    metrics = [
        MlflowMetric(point.key, point.value, point.timestamp, point.step)
        for point in operation.metrics
    ]
    params = [Param(key, value) for key, value in operation.params.items()]
    tags = [RunTag(key, value) for key, value in operation.tags.items()]
    if not alone:
        store.log_batch(operation.run_id, metrics, params, tags)
    elif metrics:
        store.log_metric(operation.run_id, metrics[0])
    elif params:
        store.log_param(operation.run_id, params[0])
    else:
        store.set_tag(operation.run_id, tags[0])


def _explain_changed_params(store: Any, operation: LogBatch, refusal: RejectedError) -> None:
    """Raise ConflictError where a param is stored with another value than the refused one."""
    try:
        stored = store.get_run(operation.run_id).data.params
    except (TransientError, NotFoundError):
        return
    changed = [
        f"{key!r} is {stored[key]!r} and cannot become {value!r}"
        for key, value in operation.params.items()
        if key in stored and stored[key] != value
    ]
    if changed:
        raise ConflictError(
            f"Params of run {operation.run_id} are stored with other values: {'; '.join(changed)}. "
            "MLflow keeps the first value; log the new one under another name."
        ) from refusal
