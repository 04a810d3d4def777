"""Finds the models of a comparison, loads them, and lets them predict."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai_core.comparison.evaluation import ModelOutput
from hokusai_core.errors import (
    InvalidInputError,
    ModelNotFoundError,
    NotFoundError,
    TransientError,
    UnavailableError,
)
from hokusai_core.model_files import load_model
from hokusai_core.model_sources import ModelSources
from hokusai_core.model_uris import parse_model_name
from hokusai_core.queries import VersionQuery

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime


def predict(runtime: "Runtime", model: str, features: Any) -> ModelOutput:
    """Load a model from the registry, also one that still waits, and let it predict.

    Args:
        runtime: The machinery.
        model: ``name/version``, ``name@alias``, a ``models:/`` or ``runs:/`` URI, or a model id.
        features: What the model takes, given to it as they are.

    Raises:
        ModelNotFoundError: There is no such model.
        UnavailableError: The primary is away, and has what is needed of the model.
        InvalidInputError: The model cannot take these features.
    """
    with tempfile.TemporaryDirectory(prefix="hokusai-model-") as folder:
        try:
            files = _download(runtime, model, Path(folder))
        except TransientError as cause:
            raise UnavailableError(
                f"The model {model!r} cannot be loaded: the server is away, and its files do not "
                "wait here. Nothing was compared; try again when the server is back."
            ) from cause
        loaded = load_model(files)
        try:
            return _output(loaded, features)
        except Exception as cause:
            raise InvalidInputError(
                f"The model {model!r} cannot predict from the features in test_data: {cause}"
            ) from cause


def _download(runtime: "Runtime", model: str, folder: Path) -> Path:
    sources = ModelSources(runtime, _no_run)
    last: NotFoundError | InvalidInputError | None = None
    for uri in _uris(runtime, model):
        try:
            return sources.download(uri, folder)
        except NotFoundError as missing:
            last = missing
    raise ModelNotFoundError(
        f"Model not found: {model}. Give name/version, name@alias, a models:/ URI or a model id."
    ) from last


def _uris(runtime: "Runtime", model: str) -> Any:
    """What the text may mean, in order: a version, else Hokusai's own id of one."""
    try:
        reference = parse_model_name(model)
    except InvalidInputError:
        reference = None
    if reference is not None and reference.kind != "logged":
        yield reference.uri
    if reference is None or "models:/" not in model:
        version = runtime.registry.find_version(VersionQuery(tags={"model_id": model}))
        if version is not None:
            yield f"models:/{version.name}/{version.version}"
    if reference is not None and reference.kind == "logged":
        yield reference.uri


def _output(loaded: Any, features: Any) -> ModelOutput:
    """Predictions, and the probabilities that a scikit-learn classifier gives besides its labels."""
    predictions = loaded.predict(features)
    estimator = _estimator(loaded)
    if estimator is None or np.ndim(predictions) > 1:
        return ModelOutput(predictions)
    try:
        return ModelOutput(predictions, estimator.predict_proba(features), estimator.classes_)
    except Exception as cause:  # noqa: BLE001 - told as the reason why there are no scores
        # The estimator alone lacks what MLflow does to the features; its labels stand without.
        reason = f"predict_proba of the model failed with {type(cause).__name__}: {cause}"
        return ModelOutput(predictions, no_scores=reason)


def _estimator(loaded: Any) -> Any:
    """The scikit-learn classifier inside, where there is one that tells probabilities."""
    try:
        raw = loaded.get_raw_model()
    except (AttributeError, NotImplementedError):
        return None
    return raw if hasattr(raw, "predict_proba") and hasattr(raw, "classes_") else None


def _no_run(run_name: str) -> Any:
    raise InvalidInputError(f"{run_name}: a comparison registers nothing.")
