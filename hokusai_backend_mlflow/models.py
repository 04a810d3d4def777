"""The hooks for logged models (MLflow 3)."""

import re
from typing import Any

from hokusai_backend_mlflow import convert, filters
from hokusai_backend_mlflow.client import Client
from hokusai_backend_mlflow.paging import batches, models_with
from hokusai_core import limits
from hokusai_core.clock import Deadline
from hokusai_core.entities import LoggedModel, Receipt
from hokusai_core.errors import NotFoundError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.markers import hookimpl
from hokusai_core.operations import CreateLoggedModel, FinalizeLoggedModel

_MODEL_ID = re.compile(r"[\w\-]+")


class LoggedModelHooks:
    """Models that a run logged."""

    _client: Client

    @hookimpl
    def tracking_create_logged_model(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Create the model, the ``op_id`` among its tags."""
        from hokusai_backend_mlflow.mlflow_entities import LoggedModelParameter, LoggedModelTag

        tags = {**operation.tags, OP_ID_TAG: operation.op_id}
        made = self._client.tracking(deadline).create_logged_model(
            experiment_id=operation.experiment_id,
            name=operation.name,
            source_run_id=operation.run_id,
            tags=[LoggedModelTag(key, value) for key, value in tags.items()],
            params=[LoggedModelParameter(key, value) for key, value in operation.params.items()],
            model_type=operation.model_type,
        )
        return Receipt(primary_id=convert.made_id(made.model_id, "logged model"))

    @hookimpl
    def tracking_finalize_logged_model(
        self, operation: FinalizeLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Mark the model READY, an output of its run, and linked to the run's latest metrics."""
        from hokusai_backend_mlflow.mlflow_entities import LoggedModelOutput, LoggedModelStatus

        _check_id(operation.model_id)
        store = self._client.tracking(deadline)
        store.finalize_logged_model(operation.model_id, LoggedModelStatus.READY)
        run = store.get_run(operation.run_id)
        outputs = run.outputs.model_outputs if run.outputs else []
        if all(output.model_id != operation.model_id for output in outputs):
            store.log_outputs(operation.run_id, [LoggedModelOutput(operation.model_id, 0)])
        _link_metrics(store, run, operation.model_id)
        return Receipt()

    @hookimpl
    def tracking_find_logged_models(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> tuple[LoggedModel, ...]:
        """Find the models of a creation."""
        store = self._client.tracking(deadline)
        condition = filters.with_op_id(operation.op_id)
        found = [
            convert.logged_model(model)
            for model in models_with(store, [operation.experiment_id], condition)
        ]
        return tuple(
            sorted(found, key=lambda model: (model.creation_timestamp or 0, model.model_id))
        )

    @hookimpl
    def tracking_find_run_models(self, run_id: str, deadline: Deadline) -> tuple[LoggedModel, ...]:
        """Find the logged models of a run; one without outputs needs a single request.

        By their steps first: of one name, MLflow registers that of the last step.
        """
        store = self._client.tracking(deadline)
        run = store.get_run(run_id)
        if not (run.outputs and run.outputs.model_outputs):
            return ()
        steps = {output.model_id: output.step or 0 for output in run.outputs.model_outputs}
        condition = filters.equals("source_run_id", run_id) or ""
        found = [
            convert.logged_model(model)
            for model in models_with(store, [run.info.experiment_id], condition)
        ]
        own = (model for model in found if model.source_run_id == run_id)
        return tuple(
            sorted(
                own,
                key=lambda model: (
                    steps.get(model.model_id, 0),
                    model.creation_timestamp or 0,
                    model.model_id,
                ),
            )
        )

    @hookimpl
    def tracking_get_logged_model(self, model_id: str, deadline: Deadline) -> LoggedModel:
        """Get a logged model."""
        _check_id(model_id)
        return convert.logged_model(self._client.tracking(deadline).get_logged_model(model_id))


def _check_id(model_id: str) -> None:
    """Refuse what cannot be an id, because ids become parts of addresses."""
    if not _MODEL_ID.fullmatch(model_id):
        raise NotFoundError(f"There is no logged model {model_id!r}: ids hold letters and digits.")


def _link_metrics(store: Any, run: Any, model_id: str) -> None:
    """Send the run's latest points again with the model's id; the history stays as it is."""
    from hokusai_backend_mlflow.mlflow_entities import Metric

    points = [
        Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)
        for point in convert.latest_points(run)
    ]
    for some in batches(points, limits.METRICS_PER_REQUEST):
        store.log_batch(run.info.run_id, some, [], [])
