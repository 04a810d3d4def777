"""MLflow's values that hooks send, imported with the first call.

MLflow's modules import each other in circles. Where two threads import different ones first, each
waits for the other, and Python ends one with a deadlock error. So the package comes first, whole,
here and wherever else this backend imports MLflow: a second thread then waits and holds nothing.
"""

import mlflow  # noqa: F401 - before its modules
from mlflow.entities import (
    ExperimentTag,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

__all__ = [
    "ExperimentTag",
    "LoggedModelOutput",
    "LoggedModelParameter",
    "LoggedModelStatus",
    "LoggedModelTag",
    "Metric",
    "ModelVersionTag",
    "Param",
    "RegisteredModelTag",
    "RunStatus",
    "RunTag",
    "ViewType",
]
