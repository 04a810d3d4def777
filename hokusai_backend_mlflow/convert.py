"""MLflow's entities turned into the core's."""

from typing import Any, cast

from hokusai_core.entities import (
    Experiment,
    FileInfo,
    LoggedModel,
    Metric,
    ModelVersion,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
)
from hokusai_core.errors import UnavailableError


def experiment(entity: Any) -> Experiment:
    """Convert an experiment."""
    return Experiment(
        experiment_id=str(made_id(entity.experiment_id, "experiment")),
        name=entity.name,
        artifact_location=entity.artifact_location or "",
        lifecycle_stage=entity.lifecycle_stage or "active",
        tags=dict(entity.tags or {}),
        creation_time=entity.creation_time,
    )


def run(entity: Any) -> Run:
    """Convert a run with its latest metrics, params and tags."""
    info, data = entity.info, entity.data
    return Run(
        info=RunInfo(
            run_id=made_id(info.run_id, "run"),
            experiment_id=str(info.experiment_id),
            run_name=info.run_name or "",
            status=info.status,
            start_time=info.start_time,
            end_time=info.end_time or None,
            lifecycle_stage=info.lifecycle_stage or "active",
            artifact_uri=info.artifact_uri or "",
            user_id=info.user_id or "",
        ),
        data=RunData(metrics=dict(data.metrics), params=dict(data.params), tags=dict(data.tags)),
        latest_metrics=tuple(metric(point) for point in latest_points(entity)),
    )


def latest_points(entity: Any) -> tuple[Any, ...]:
    """Give the latest points of a run's metrics, as MLflow's entities."""
    return tuple(entity.data._metric_objs)


def metric(entity: Any) -> Metric:
    """Convert a metric point."""
    return Metric(
        key=entity.key, value=entity.value, timestamp=entity.timestamp, step=entity.step or 0
    )


def logged_model(entity: Any) -> LoggedModel:
    """Convert a logged model."""
    status = str(entity.status)
    return LoggedModel(
        model_id=made_id(entity.model_id, "logged model"),
        experiment_id=str(entity.experiment_id),
        name=entity.name or "",
        source_run_id=entity.source_run_id or "",
        status=cast("Any", status if status in ("PENDING", "READY", "FAILED") else "PENDING"),
        tags=dict(entity.tags or {}),
        creation_timestamp=entity.creation_timestamp,
        artifact_location=entity.artifact_location or "",
    )


def registered_model(entity: Any) -> RegisteredModel:
    """Convert a registered model with its aliases."""
    return RegisteredModel(
        name=made_id(entity.name, "registered model"),
        description=entity.description or "",
        tags=dict(entity.tags or {}),
        aliases={name: str(version) for name, version in dict(entity.aliases or {}).items()},
        creation_timestamp=entity.creation_timestamp,
    )


def model_version(entity: Any) -> ModelVersion:
    """Convert a version of a registered model."""
    return ModelVersion(
        name=entity.name,
        version=str(made_id(entity.version, "model version")),
        source_uri=entity.source or "",
        run_id=entity.run_id or None,
        model_id=getattr(entity, "model_id", None) or logged_model_id(entity.source or ""),
        description=entity.description or "",
        tags=dict(entity.tags or {}),
        aliases=tuple(entity.aliases or ()),
        stage=_stage(entity),
        creation_timestamp=entity.creation_timestamp,
        status=entity.status or "READY",
    )


def _stage(version: Any) -> str:
    stage = getattr(version, "current_stage", None)
    return "" if stage in (None, "None") else str(stage)


def logged_model_id(source: str) -> str | None:
    """Give the logged model that a source ``models:/m-...`` names; None for any other source."""
    name = source.removeprefix("models:/")
    return name if name != source and name.startswith("m-") and "/" not in name else None


def file_info(path: str, *, is_dir: bool, size: int | None) -> FileInfo:
    """Convert one entry of an artifact listing."""
    return FileInfo(path=path, is_dir=is_dir, file_size=None if is_dir else size)


def made_id(identifier: Any, what: str) -> Any:
    """Check that an answer names what it is about: an empty object is not MLflow's answer."""
    if identifier in (None, "", 0):
        raise UnavailableError(
            f"The answer names no {what}; it is not MLflow's. Is there a proxy or another "
            "service at this address?",
            maybe_applied=True,
        )
    return identifier
