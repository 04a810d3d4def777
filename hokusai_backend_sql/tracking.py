"""The tracking hooks of the SQL backend: a primary that needs no MLflow.

A creation that is repeated with its ``op_id`` finds what the first one made, so that here every
write is harmless to repeat.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from hokusai_backend_sql.artifacts import download_file, list_folder, put_file
from hokusai_backend_sql.content import digest_of
from hokusai_backend_sql.health import describe
from hokusai_backend_sql.logged_models import (
    create_logged_model,
    finalize_logged_model,
    get_logged_model,
    select_logged_models,
)
from hokusai_backend_sql.records_schema import (
    ACTIVE,
    experiment_tags,
    experiments,
    logged_models,
    metrics,
    runs,
)
from hokusai_backend_sql.run_search import load_runs, metric_point, search_runs
from hokusai_backend_sql.run_writes import (
    active_run,
    create_experiment,
    create_run,
    experiment_number,
    log_batch,
    update_run,
)
from hokusai_backend_sql.staging import stage_content
from hokusai_backend_sql.time_limits import within_deadlines
from hokusai_core.clock import Deadline
from hokusai_core.entities import (
    BackendHealth,
    Experiment,
    FileInfo,
    LoggedModel,
    Metric,
    Page,
    Receipt,
    Run,
)
from hokusai_core.errors import NotFoundError
from hokusai_core.hookspecs import OpenContent
from hokusai_core.markers import hookimpl
from hokusai_core.operations import (
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

if TYPE_CHECKING:
    from hokusai_backend_sql.engine import Database


@within_deadlines
class SqlTracking:
    """Experiments, runs, logged models and their artifacts in a database.

    Args:
        database: The database, opened for the role of a primary.

    """

    def __init__(self, database: "Database") -> None:
        self._database = database

    @hookimpl
    def tracking_check(self, deadline: Deadline) -> BackendHealth:
        """Ask the database whether it answers."""
        with self._database.connect() as connection:
            return describe(connection)

    @hookimpl
    def tracking_create_experiment(
        self, operation: CreateExperiment, deadline: Deadline
    ) -> Receipt:
        """Get the experiment of that name, or create it."""
        with self._database.begin() as connection:
            return create_experiment(connection, operation)

    @hookimpl
    def tracking_create_run(self, operation: CreateRun, deadline: Deadline) -> Receipt:
        """Create a run in one transaction, once for each ``op_id``."""
        with self._database.begin() as connection:
            return create_run(connection, operation)

    @hookimpl
    def tracking_log_batch(self, operation: LogBatch, deadline: Deadline) -> Receipt:
        """Store metrics, params and tags in one transaction."""
        with self._database.begin() as connection:
            return log_batch(connection, operation)

    @hookimpl
    def tracking_update_run(self, operation: UpdateRun, deadline: Deadline) -> Receipt:
        """Set status, end time and name."""
        with self._database.begin() as connection:
            return update_run(connection, operation)

    @hookimpl
    def tracking_log_artifact(
        self, operation: LogArtifact, open_content: OpenContent, deadline: Deadline
    ) -> Receipt:
        """Store one file over what is there."""
        digest = digest_of(open_content)
        staged = stage_content(self._database, open_content, digest)
        with self._database.begin() as connection:
            active_run(connection, operation.run_id)
            if operation.owner.kind == "model":
                get_logged_model(connection, operation.owner.id)
            put_file(
                connection,
                operation.owner,
                operation.path,
                open_content,
                digest,
                staged=staged,
            )
        return Receipt()

    @hookimpl
    def tracking_create_logged_model(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Create a logged model in one transaction, once for each ``op_id``."""
        with self._database.begin() as connection:
            return create_logged_model(connection, operation)

    @hookimpl
    def tracking_finalize_logged_model(
        self, operation: FinalizeLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Mark a logged model READY; its run is known since its creation."""
        with self._database.begin() as connection:
            return finalize_logged_model(connection, operation.model_id)

    @hookimpl
    def tracking_find_experiments(self, name: str, deadline: Deadline) -> tuple[Experiment, ...]:
        """Find the experiment of that name, deleted ones included."""
        with self._database.connect() as connection:
            number = connection.scalar(
                select(experiments.c.experiment_id).where(experiments.c.name == name)
            )
            return () if number is None else (_experiment(connection, str(number)),)

    @hookimpl
    def tracking_get_experiment(self, experiment_id: str, deadline: Deadline) -> Experiment:
        """Get an experiment by id."""
        with self._database.connect() as connection:
            return _experiment(connection, experiment_id)

    @hookimpl
    def tracking_find_runs(self, operation: CreateRun, deadline: Deadline) -> tuple[Run, ...]:
        """Find the run that the creation made: none or one."""
        with self._database.connect() as connection:
            statement = select(runs).where(runs.c.op_id == operation.op_id)
            return load_runs(connection, connection.execute(statement).all())

    @hookimpl
    def tracking_find_logged_models(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> tuple[LoggedModel, ...]:
        """Find the logged model that the creation made: none or one."""
        with self._database.connect() as connection:
            return select_logged_models(connection, logged_models.c.op_id == operation.op_id)

    @hookimpl
    def tracking_find_run_models(self, run_id: str, deadline: Deadline) -> tuple[LoggedModel, ...]:
        """Find the logged models of a run."""
        with self._database.connect() as connection:
            if connection.scalar(select(runs.c.run_id).where(runs.c.run_id == run_id)) is None:
                raise NotFoundError(f"No run has the id {run_id!r}.")
            return select_logged_models(connection, logged_models.c.run_id == run_id)

    @hookimpl
    def tracking_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Find the run or logged model of an ``op_id`` in all active experiments."""
        found: list[str] = []
        with self._database.connect() as connection:
            for table, identifier in (
                (runs, runs.c.run_id),
                (logged_models, logged_models.c.model_id),
            ):
                statement = (
                    select(identifier)
                    .join(experiments, experiments.c.experiment_id == table.c.experiment_id)
                    .where(table.c.op_id == op_id, experiments.c.lifecycle_stage == ACTIVE)
                )
                found.extend(connection.scalars(statement))
        return tuple(found)

    @hookimpl
    def tracking_get_run(self, run_id: str, deadline: Deadline) -> Run:
        """Get a run with its latest metrics, params and tags."""
        with self._database.connect() as connection:
            rows = connection.execute(select(runs).where(runs.c.run_id == run_id)).all()
            if not rows:
                raise NotFoundError(f"No run has the id {run_id!r}.")
            return load_runs(connection, rows)[0]

    @hookimpl
    def tracking_search_runs(self, query: RunQuery, deadline: Deadline) -> Page[Run]:
        """Search runs with a filter that becomes SQL."""
        with self._database.connect() as connection:
            return search_runs(connection, query)

    @hookimpl
    def tracking_get_metric_history(
        self, run_id: str, key: str, deadline: Deadline
    ) -> tuple[Metric, ...]:
        """Get every point of one metric, by timestamp, step and value."""
        statement = select(metrics).where(metrics.c.run_id == run_id, metrics.c.key == key)
        order = (metrics.c.timestamp, metrics.c.step, metrics.c.is_nan, metrics.c.value)
        with self._database.connect() as connection:
            return tuple(map(metric_point, connection.execute(statement.order_by(*order))))

    @hookimpl
    def tracking_list_artifacts(
        self, owner: ArtifactOwner, path: str, deadline: Deadline
    ) -> tuple[FileInfo, ...]:
        """List one folder."""
        with self._database.connect() as connection:
            return list_folder(connection, owner, path)

    @hookimpl
    def tracking_download_artifact(
        self, owner: ArtifactOwner, path: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Write one file's bytes to the file ``destination``, chunk by chunk."""
        return download_file(self._database, owner, path, destination)

    @hookimpl
    def tracking_get_logged_model(self, model_id: str, deadline: Deadline) -> LoggedModel:
        """Get a logged model by id."""
        with self._database.connect() as connection:
            return get_logged_model(connection, model_id)


def _experiment(connection: Connection, experiment_id: str) -> Experiment:
    number = experiment_number(experiment_id)
    row = connection.execute(
        select(experiments).where(experiments.c.experiment_id == number)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"No experiment has the id {experiment_id!r}.")
    tags = connection.execute(
        select(experiment_tags.c.key, experiment_tags.c.value).where(
            experiment_tags.c.experiment_id == number
        )
    )
    return Experiment(
        experiment_id=experiment_id,
        name=row.name,
        lifecycle_stage=row.lifecycle_stage,
        tags={tag.key: tag.value for tag in tags},
        creation_time=row.creation_time,
    )
