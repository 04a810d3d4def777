"""Saving a model as a folder of files, in the format of an MLflow model.

The flavours are MLflow's own, loaded by name where MLflow is installed. All of this happens in the
caller's process before any time budget of a backend begins.
"""

import importlib
import importlib.util
import inspect
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hokusai_core.errors import BackendNotInstalledError, InvalidInputError
from hokusai_core.metadata_objects import id_in, is_metadata_object, write_metadata
from hokusai_core.model_uris import shown_uri

logger = logging.getLogger("hokusai")

MODEL_FILE = "MLmodel"
"""Name of the file that describes an MLflow model."""

_OWN_KEYS = ("run_id", "model_id", "artifact_path")


def save_model(
    model: Any,
    folder: Path,
    *,
    flavor: str | None = None,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: list[str] | None = None,
) -> None:
    """Write a model into a new folder.

    Args:
        model: A scikit-learn estimator, an MLflow ``PythonModel``, a folder that holds a saved
            model, a metadata object (``model_id``, ``get_metrics()``), or with ``flavor`` whatever
            that flavour of MLflow saves.
        folder: Does not exist yet.
        flavor: Name of an MLflow flavour ("sklearn", "xgboost", "pytorch", ...).
        signature: An MLflow ``ModelSignature``.
        input_example: Rows to derive the signature from.
        pip_requirements: Packages for serving; not given, the flavour's own defaults.

    Raises:
        InvalidInputError: The model cannot be saved.
        BackendNotInstalledError: MLflow, or the flavour's library, is not installed.
    """
    if isinstance(model, str | Path):
        _copy_saved(Path(model), folder)
        return
    chosen = flavor or _flavor_of(model)
    if chosen is None and is_metadata_object(model):
        write_metadata(model, folder)
        return
    if chosen is None:
        raise InvalidInputError(
            f"Cannot tell how to save a {type(model).__name__}: name MLflow's flavor= (for example "
            "'pytorch'), or pass a folder with a saved model, or a model URI to register_model."
        )
    arguments: dict[str, Any] = {
        "signature": signature,
        "input_example": input_example,
        "pip_requirements": pip_requirements,
    }
    _save_with_flavor(chosen, model, folder, arguments)


def is_folder(path: str | Path) -> bool:
    """Say whether there is a folder of this name; what cannot be the name of one is not there."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def describe_owner(folder: Path, *, run_id: str, model_id: str, artifact_path: str) -> bool:
    """Write into a folder's ``MLmodel`` to which run and logged model it belongs.

    Returns:
        Whether the folder has such a file.
    """
    file = folder / MODEL_FILE
    if not file.is_file():
        return False
    lines = [
        line
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.split(":", 1)[0] not in _OWN_KEYS
    ]
    owner = {"run_id": run_id, "model_id": model_id, "artifact_path": artifact_path}
    lines += [f"{key}: {json.dumps(value)}" for key, value in owner.items() if value]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return True


def load_model(folder: Path, name: str = "The model") -> Any:
    """Load a saved model as an MLflow ``pyfunc``.

    Args:
        folder: The model's files; the model may open them later, too.
        name: What the caller calls the model, for messages.

    Raises:
        InvalidInputError: The folder holds no MLflow model.
        BackendNotInstalledError: MLflow is not installed.
    """
    if (folder / MODEL_FILE).is_file():
        return _module("mlflow.pyfunc").load_model(str(folder))
    described = id_in(folder)
    if described is None:
        raise InvalidInputError(
            f"{name} cannot be loaded: it holds no MLflow model (no {MODEL_FILE} file)."
        )
    raise InvalidInputError(
        f"{name} cannot be loaded: it was registered as the description of a model object "
        f"(model_id {described!r}), without the model itself. Register what MLflow can save, or a "
        "folder with a saved model."
    )


def _save_with_flavor(flavor: str, model: Any, folder: Path, arguments: dict[str, Any]) -> None:
    _module("mlflow")
    try:
        module = _module(f"mlflow.{flavor}")
        save = module.save_model
    except (AttributeError, ImportError, BackendNotInstalledError) as cause:
        known_flavors = _flavors()
        if flavor not in known_flavors:
            raise InvalidInputError(
                f"MLflow has no flavor {flavor!r} that saves models. It has "
                f"{', '.join(known_flavors)}."
            ) from cause
        if isinstance(cause, BackendNotInstalledError):
            raise
        raise _not_installed(f"MLflow's flavor {flavor!r}", cause) from cause
    known = inspect.signature(save).parameters
    given = {name: value for name, value in arguments.items() if value is not None}
    if flavor == "sklearn":
        given |= _sklearn_format(model, known)
    model_argument = "python_model" if flavor == "pyfunc" else next(iter(known))
    try:
        if "pip_requirements" not in given and hasattr(module, "get_default_pip_requirements"):
            given["pip_requirements"] = _default_requirements(module, given)
        save(**{model_argument: model}, path=str(folder), **given)
    except ImportError as cause:
        shutil.rmtree(folder, ignore_errors=True)
        raise _not_installed(f"MLflow's flavor {flavor!r}", cause) from cause
    except Exception as cause:
        shutil.rmtree(folder, ignore_errors=True)
        raise InvalidInputError(
            f"MLflow's flavor {flavor!r} cannot save this {type(model).__name__}: {cause}"
        ) from cause


def _default_requirements(module: Any, given: dict[str, Any]) -> list[str]:
    """The flavour's own requirements: inferring them would load the model in another process."""
    function = module.get_default_pip_requirements
    options = {
        "include_skops": given.get("serialization_format") == "skops",
        "include_cloudpickle": given.get("serialization_format") == "cloudpickle",
    }
    known = inspect.signature(function).parameters
    found: list[str] = function(**{name: on for name, on in options.items() if name in known})
    return found


def _sklearn_format(model: Any, known: Any) -> dict[str, Any]:
    """Choose skops where it trusts nothing but scikit-learn's own types, else cloudpickle."""
    if "skops_trusted_types" in known and importlib.util.find_spec("skops"):
        try:
            skops = _module("skops.io")
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.skops"
                skops.dump(model, file)
                untrusted = skops.get_untrusted_types(file=file)
        except Exception as cause:  # noqa: BLE001 - skops meets whatever the model is made of
            logger.info("skops cannot save this %s: %s", type(model).__name__, cause)
        else:
            if all(name.split(".")[0] in ("sklearn", "numpy", "scipy") for name in untrusted):
                return {"serialization_format": "skops", "skops_trusted_types": untrusted}
    logger.info(
        "%s is saved with cloudpickle: load it only where you trust who wrote it.",
        type(model).__name__,
    )
    return {"serialization_format": "cloudpickle"}


def _flavor_of(model: object) -> str | None:
    """Tell the flavour from the classes a model is made of; None where none fits."""
    modules = {base.__module__ for base in type(model).__mro__}
    if any(name.startswith("mlflow.pyfunc") for name in modules):
        return "pyfunc"
    families = {name.partition(".")[0] for name in modules}
    for family, flavor in (
        ("xgboost", "xgboost"),
        ("lightgbm", "lightgbm"),
        ("sklearn", "sklearn"),
    ):
        if family in families:
            return flavor
    return None


def _copy_saved(source: Path, folder: Path) -> None:
    if not is_folder(source):
        raise InvalidInputError(f"{shown_uri(str(source))} is not a folder with a saved model.")
    try:
        shutil.copytree(source, folder)
    except OSError as cause:
        raise InvalidInputError(
            f"The folder {str(source)!r} cannot be read to the end, so nothing of it was "
            f"registered: {cause}"
        ) from cause


def _flavors() -> tuple[str, ...]:
    """Name the flavours of the installed MLflow, without importing what they need."""
    files = {
        file.parent.name if file.stem == "__init__" else file.stem: file
        for folder in _module("mlflow").__path__
        for pattern in ("*.py", "*/__init__.py")
        for file in Path(folder).glob(pattern)
        if file != Path(folder) / "__init__.py"
    }
    found = [
        name
        for name, file in files.items()
        if "save_model" in (source := file.read_text(encoding="utf-8")) and "log_model" in source
    ]
    return tuple(sorted(found))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as cause:
        raise _not_installed(name, cause) from cause


def _not_installed(what: str, cause: Exception) -> BackendNotInstalledError:
    return BackendNotInstalledError(
        f"Saving and loading models needs {what}, which cannot be imported ({cause}). Run: "
        "pip install 'hokusai-tracking[mlflow,ml]', and the library of the model."
    )
