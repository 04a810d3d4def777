"""Logged models: a run's models with files of their own, each inside the caller's transaction."""

import uuid

from sqlalchemy import ColumnElement, Connection, select, update

from hokusai_backend_sql.records_schema import (
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from hokusai_backend_sql.run_writes import active_experiment, active_run, write_pairs
from hokusai_backend_sql.upsert import insert_unless_there
from hokusai_core.entities import LoggedModel, Receipt
from hokusai_core.errors import NotFoundError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import CreateLoggedModel


def create_logged_model(connection: Connection, operation: CreateLoggedModel) -> Receipt:
    """Create a model with its tags; a repeated ``op_id`` gives the first one's receipt."""
    active_run(connection, operation.run_id)
    model_id = f"m-{uuid.uuid4().hex}"
    created = insert_unless_there(
        connection,
        logged_models,
        {
            "model_id": model_id,
            "experiment_id": active_experiment(connection, operation.experiment_id),
            "run_id": operation.run_id,
            "op_id": operation.op_id,
            "name": operation.name,
            "model_type": operation.model_type,
            "status": "PENDING",
            "creation_timestamp": operation.created_at,
        },
    )
    if not created:
        first = select_logged_models(connection, logged_models.c.op_id == operation.op_id)[0]
        return Receipt(primary_id=first.model_id, created=False)
    tags = dict(operation.tags) | {OP_ID_TAG: operation.op_id}
    write_pairs(connection, logged_model_tags, tags, model_id=model_id)
    write_pairs(connection, logged_model_params, operation.params, model_id=model_id)
    return Receipt(primary_id=model_id)


def finalize_logged_model(connection: Connection, model_id: str) -> Receipt:
    """Mark a model READY."""
    changed = connection.execute(
        update(logged_models).where(logged_models.c.model_id == model_id).values(status="READY")
    )
    if not changed.rowcount:
        raise missing_model(model_id)
    return Receipt()


def select_logged_models(
    connection: Connection, condition: ColumnElement[bool]
) -> tuple[LoggedModel, ...]:
    """Read the models that meet a condition, earliest first."""
    rows = connection.execute(
        select(logged_models)
        .where(condition)
        .order_by(logged_models.c.creation_timestamp, logged_models.c.model_id)
    ).all()
    tags: dict[str, dict[str, str]] = {row.model_id: {} for row in rows}
    for tag in connection.execute(
        select(logged_model_tags).where(logged_model_tags.c.model_id.in_(tags))
    ):
        tags[tag.model_id][tag.key] = tag.value
    return tuple(
        LoggedModel(
            model_id=row.model_id,
            experiment_id=str(row.experiment_id),
            name=row.name,
            source_run_id=row.run_id,
            status=row.status,
            tags=tags[row.model_id],
            creation_timestamp=row.creation_timestamp,
        )
        for row in rows
    )


def get_logged_model(connection: Connection, model_id: str) -> LoggedModel:
    """Read one model; raises NotFoundError."""
    found = select_logged_models(connection, logged_models.c.model_id == model_id)
    if not found:
        raise missing_model(model_id)
    return found[0]


def missing_model(model_id: str) -> NotFoundError:
    """Give the error for a model that is not there."""
    return NotFoundError(f"No logged model has the id {model_id!r}.")
