"""MLflow's own fluent calls (``mlflow.log_metric``, autologging) beside Hokusai's runs.

They are not redirected. This module says what MLflow's thread-local *active run* is, puts a run of
ours there where a user asks for it, and names what else became active inside a block. MLflow is
looked up among the modules that are loaded; only :func:`activated` ever imports it.
"""

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from hokusai_core.addresses import without_credentials
from hokusai_core.entities import RunInfo
from hokusai_core.errors import BackendNotInstalledError, ConfigurationError

logger = logging.getLogger("hokusai")

_URI_VARIABLE = "MLFLOW_TRACKING_URI"


def active_run_id() -> str | None:
    """Give the id of this thread's active fluent run; None where there is none, or no MLflow."""
    ask = getattr(sys.modules.get("mlflow"), "active_run", None)
    active = ask() if callable(ask) else None
    return None if active is None else str(active.info.run_id)


def tracking_uri() -> str | None:
    """Give the address that MLflow's own calls use; None where MLflow is not loaded."""
    ask = getattr(sys.modules.get("mlflow"), "get_tracking_uri", None)
    return str(ask()) if callable(ask) else None


def warn_of_other_run(run_id: str, at_entry: str | None) -> None:
    """Log one WARNING if a fluent run is active that was not there when a block was entered.

    Args:
        run_id: Our run, whose block ends.
        at_entry: What :func:`active_run_id` gave then.
    """
    other = active_run_id()
    if other is None or other in (at_entry, run_id):
        return
    logger.warning(
        "MLflow's run %s became active inside the block of Hokusai's run %s and is still active: "
        "mlflow.log_* calls and autologging went to it, not to Hokusai's run, and are not protected "
        "from an outage. Log with the run handle, or wrap such calls in `with run.as_mlflow():`.",
        other,
        run_id,
    )


@contextmanager
def activated(info: RunInfo, address: str) -> Iterator[None]:
    """Make a run this thread's active fluent run for a block; nothing is sent for that.

    Where MLflow's own tracking address is another one, it is set for the block, for the whole
    process, and put back after it.

    Args:
        info: The run, with the id that the primary gave.
        address: Under which MLflow's own client reaches the primary.

    Raises:
        BackendNotInstalledError: MLflow is not installed.
        ConfigurationError: This version of MLflow keeps its active run elsewhere.
    """
    stack = _stack()
    with _pointed_to(address):
        entry = _entry(info)
        stack.append(entry)
        try:
            yield
        finally:
            # By identity: a run that was left open above it stays for its owner to end.
            for place, one in enumerate(stack):
                if one is entry:
                    del stack[place]
                    break


@contextmanager
def _pointed_to(address: str) -> Iterator[None]:
    mlflow = _mlflow()
    before = mlflow.get_tracking_uri()
    if before == address:
        yield
        return
    variable = os.environ.get(_URI_VARIABLE)
    logger.info("MLflow's own calls go to %s for a block.", without_credentials(address))
    mlflow.set_tracking_uri(address)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        if variable is not None:
            os.environ[_URI_VARIABLE] = variable
        if mlflow.get_tracking_uri() != before:
            mlflow.set_tracking_uri(before)


def _stack() -> list[Any]:
    """MLflow's own list of this thread's active runs, innermost last."""
    _mlflow()
    variable: Any = getattr(sys.modules.get("mlflow.tracking.fluent"), "_active_run_stack", None)
    stack = variable.get() if hasattr(variable, "get") else None
    if not isinstance(stack, list):
        raise ConfigurationError(
            "This version of MLflow does not keep its active runs where Hokusai looks for them, so "
            "no run can be made active in it. Log with the run handle."
        )
    return stack


def _entry(info: RunInfo) -> Any:
    mlflow = _mlflow()
    entities = mlflow.entities
    described = entities.RunInfo(
        run_id=info.run_id,
        experiment_id=info.experiment_id,
        user_id=info.user_id,
        status=info.status,
        start_time=info.start_time or 0,
        end_time=info.end_time,
        lifecycle_stage=info.lifecycle_stage,
        artifact_uri=info.artifact_uri or None,
        run_name=info.run_name or None,
    )
    return mlflow.ActiveRun(entities.Run(described, entities.RunData()))


def _mlflow() -> ModuleType:
    try:
        return importlib.import_module("mlflow")
    except ImportError as cause:
        raise BackendNotInstalledError(
            "A run can only be made MLflow's active one where MLflow is installed: "
            "pip install 'hokusai-tracking[mlflow]'."
        ) from cause
