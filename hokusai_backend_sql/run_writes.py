"""Writes to experiments and runs, each inside the caller's transaction.

Every transaction writes the tables in the same order, a run's own row last, so that two that write
to one run never wait for each other in a circle.
"""

import math
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, select, update

from hokusai_backend_sql.records_schema import (
    ACTIVE,
    DELETED,
    experiment_tags,
    experiments,
    latest_metrics,
    metrics,
    run_params,
    run_tags,
    runs,
)
from hokusai_backend_sql.upsert import insert_missing, insert_unless_there, overwrite
from hokusai_core.entities import Receipt
from hokusai_core.errors import ConflictError, NotFoundError, RejectedError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    RUN_NAME_TAG,
    CreateExperiment,
    CreateRun,
    LogBatch,
    MetricPoint,
    UpdateRun,
)

USER_TAG = "mlflow.user"
_EXPERIMENT_ID = re.compile(r"[1-9][0-9]{0,17}")
_RECENCY = ("step", "timestamp", "value")


def create_experiment(connection: Connection, operation: CreateExperiment) -> Receipt:
    """Get or create the experiment of that name; raises RejectedError for a deleted one."""
    created = insert_unless_there(
        connection,
        experiments,
        {
            "name": operation.name,
            "lifecycle_stage": ACTIVE,
            "creation_time": operation.created_at,
        },
    )
    found = connection.execute(
        select(experiments).where(experiments.c.name == operation.name)
    ).one()
    if found.lifecycle_stage == DELETED:
        raise RejectedError(
            f"Experiment {operation.name!r} (id {found.experiment_id}) is deleted. Restore it, or "
            "use another name."
        )
    if created:
        write_pairs(connection, experiment_tags, operation.tags, experiment_id=found.experiment_id)
    return Receipt(primary_id=str(found.experiment_id), created=created)


def create_run(connection: Connection, operation: CreateRun) -> Receipt:
    """Create a run with its tags; a repeated ``op_id`` gives the first one's receipt."""
    experiment_id = active_experiment(connection, operation.experiment_id)
    run_id = uuid.uuid4().hex
    tags = dict(operation.tags) | {OP_ID_TAG: operation.op_id}
    run_name = operation.run_name or tags.get(RUN_NAME_TAG, "")
    if run_name:
        tags[RUN_NAME_TAG] = run_name
    created = insert_unless_there(
        connection,
        runs,
        {
            "run_id": run_id,
            "experiment_id": experiment_id,
            "op_id": operation.op_id,
            "run_name": run_name,
            "user_id": tags.get(USER_TAG, ""),
            "artifact_uri": "",
            "status": "RUNNING",
            "start_time": operation.start_time,
            "lifecycle_stage": ACTIVE,
        },
    )
    if not created:
        first = connection.scalar(select(runs.c.run_id).where(runs.c.op_id == operation.op_id))
        return Receipt(primary_id=str(first), created=False)
    write_pairs(connection, run_tags, tags, run_id=run_id)
    return Receipt(primary_id=run_id)


def log_batch(connection: Connection, operation: LogBatch) -> Receipt:
    """Store metrics, params and tags of an active run, all or nothing."""
    active_run(connection, operation.run_id)
    _write_metrics(connection, operation.run_id, operation.metrics)
    _write_params(connection, operation.run_id, operation.params)
    write_pairs(connection, run_tags, operation.tags, run_id=operation.run_id)
    if RUN_NAME_TAG in operation.tags:
        _set_run(connection, operation.run_id, {"run_name": operation.tags[RUN_NAME_TAG]})
    return Receipt()


def update_run(connection: Connection, operation: UpdateRun) -> Receipt:
    """Set what is not None of status, end time and name of an active run."""
    active_run(connection, operation.run_id)
    given = operation.model_dump(include={"status", "end_time", "run_name"}, exclude_none=True)
    if operation.run_name is not None:
        tags = {RUN_NAME_TAG: operation.run_name}
        write_pairs(connection, run_tags, tags, run_id=operation.run_id)
    if given:
        _set_run(connection, operation.run_id, given)
    return Receipt()


def active_experiment(connection: Connection, experiment_id: str) -> int:
    """Give the key of an experiment that can be written to."""
    number = experiment_number(experiment_id)
    stage = connection.scalar(
        select(experiments.c.lifecycle_stage).where(experiments.c.experiment_id == number)
    )
    if stage is None:
        raise NotFoundError(f"No experiment has the id {experiment_id!r}.")
    if stage == DELETED:
        raise RejectedError(f"Experiment {experiment_id!r} is deleted. Restore it, or use another.")
    return number


def active_run(connection: Connection, run_id: str) -> None:
    """Check that a run can be written to."""
    stage = connection.scalar(select(runs.c.lifecycle_stage).where(runs.c.run_id == run_id))
    if stage is None:
        raise NotFoundError(f"No run has the id {run_id!r}.")
    if stage == DELETED:
        raise RejectedError(f"Run {run_id!r} is deleted. Restore it, or log to another run.")


def experiment_number(experiment_id: str) -> int:
    """Give the key that an experiment id stands for; -1, which none has, for any other text."""
    return int(experiment_id) if _EXPERIMENT_ID.fullmatch(experiment_id) else -1


def write_pairs(
    connection: Connection, table: Table, pairs: Mapping[str, str], **owner: object
) -> None:
    """Set tags of an owner; the last writer wins."""
    overwrite(
        connection,
        table,
        ({**owner, "key": key, "value": value} for key, value in pairs.items()),
    )


def _set_run(connection: Connection, run_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(dict(values)))


def _write_metrics(connection: Connection, run_id: str, points: Iterable[MetricPoint]) -> None:
    rows = [_metric_row(run_id, point) for point in points]
    insert_missing(connection, metrics, rows)
    latest: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = latest.setdefault(row["key"], row)
        if _recency(row) > _recency(known):
            latest[row["key"]] = row
    overwrite(connection, latest_metrics, latest.values(), if_greater=_RECENCY)


def _metric_row(run_id: str, point: MetricPoint) -> dict[str, Any]:
    is_nan = math.isnan(point.value)
    return {
        "run_id": run_id,
        "key": point.key,
        "timestamp": point.timestamp,
        "step": point.step,
        "value": 0.0 if is_nan else point.value,
        "is_nan": is_nan,
    }


def _recency(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _RECENCY)


def _write_params(connection: Connection, run_id: str, params: Mapping[str, str]) -> None:
    if not params:
        return
    insert_missing(
        connection,
        run_params,
        ({"run_id": run_id, "key": key, "value": value} for key, value in params.items()),
    )
    stored = connection.execute(
        select(run_params.c.key, run_params.c.value).where(
            run_params.c.run_id == run_id, run_params.c.key.in_(params)
        )
    )
    changed = [(key, value) for key, value in stored if value != params[key]]
    if changed:
        raise ConflictError(
            f"Params of run {run_id!r} cannot change: "
            + "; ".join(
                f"{key!r} is {_shown(value)}, not {_shown(params[key])}" for key, value in changed
            )
            + ". Log the new value under another key, or in another run."
        )


def _shown(value: str) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:197]}..."  # noqa: PLR2004 - a few lines
