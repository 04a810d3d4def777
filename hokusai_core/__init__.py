"""Hokusai: experiment tracking and model registration that keep working when MLflow does not."""

from hokusai_core.entities import (
    Experiment,
    FileInfo,
    Metric,
    ModelVersion,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
)
from hokusai_core.errors import (
    AlreadyExistsError,
    AuthenticationError,
    BackendBrokenError,
    BackendError,
    BackendNotFoundError,
    BackendNotInstalledError,
    ConfigurationError,
    ConflictError,
    DeadLetterError,
    HokusaiError,
    HokusaiException,
    InvalidInputError,
    ModelNotFoundError,
    NotDeliveredError,
    NotFoundError,
    NotStoredError,
    PermanentError,
    PermissionDeniedError,
    RegistryException,
    RejectedError,
    TransientError,
    UnavailableError,
    UnsupportedFilterError,
)
from hokusai_core.experiments import ExperimentManager
from hokusai_core.logged_models import LoggedModelInfo
from hokusai_core.registry import ModelRegistry
from hokusai_core.registry_entry import ModelRegistryEntry
from hokusai_core.resolution import ExperimentConfig
from hokusai_core.run_handle import RunHandle
from hokusai_core.settings import Settings
from hokusai_core.status import Status, status

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "BackendBrokenError",
    "BackendError",
    "BackendNotFoundError",
    "BackendNotInstalledError",
    "ConfigurationError",
    "ConflictError",
    "DeadLetterError",
    "Experiment",
    "ExperimentConfig",
    "ExperimentManager",
    "FileInfo",
    "HokusaiError",
    "HokusaiException",
    "InvalidInputError",
    "LoggedModelInfo",
    "Metric",
    "ModelNotFoundError",
    "ModelRegistry",
    "ModelRegistryEntry",
    "ModelVersion",
    "NotDeliveredError",
    "NotFoundError",
    "NotStoredError",
    "PermanentError",
    "PermissionDeniedError",
    "RegisteredModel",
    "RegistryException",
    "RejectedError",
    "Run",
    "RunData",
    "RunHandle",
    "RunInfo",
    "Settings",
    "Status",
    "TransientError",
    "UnavailableError",
    "UnsupportedFilterError",
    "status",
]
