"""Where the files of a model are: found for a registration, and downloaded for loading."""

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai_core import limits
from hokusai_core.entities import ModelVersion
from hokusai_core.errors import (
    InvalidInputError,
    NotFoundError,
    TransientError,
    UnavailableError,
)
from hokusai_core.logged_models import LoggedModelInfo
from hokusai_core.metadata_objects import numeric_metrics, own_metrics
from hokusai_core.model_files import is_folder, save_model
from hokusai_core.model_uris import ModelReference, has_scheme, parse_model_uri, shown_uri
from hokusai_core.operations import ArtifactOwner
from hokusai_core.run_handle import RunHandle

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime

_SAVE_OPTIONS = frozenset({"flavor", "signature", "input_example", "pip_requirements"})


@dataclass(frozen=True)
class ModelSource:
    """What a version is created from: a URI, and the run and logged model behind it, if any."""

    uri: str
    run_id: str | None = None
    model_id: str | None = None


class ModelSources:
    """Finds and downloads the files of models.

    Args:
        runtime: The machinery.
        start_run: Starts the run that holds a model which is registered as an object.
    """

    def __init__(self, runtime: "Runtime", start_run: Callable[[str], RunHandle]) -> None:
        self._runtime = runtime
        self._start_run = start_run

    def locate(self, model: Any, name: str, save_options: Mapping[str, Any]) -> ModelSource:
        """Give the source of what is to be registered as ``name``.

        A model URI and what ``log_model`` returned have one. Anything else is saved first, so that
        nothing is written of what cannot be saved, and then logged under a run of its own.

        Raises:
            InvalidInputError: It is no model, or cannot be saved.
        """
        if unknown := set(save_options) - _SAVE_OPTIONS:
            raise InvalidInputError(f"Unknown arguments: {', '.join(sorted(unknown))}.")
        if isinstance(model, LoggedModelInfo):
            return ModelSource(model.model_uri, model.run_id, model.logged_model_id or None)
        if isinstance(model, str) and not is_folder(model):
            if model.strip() and not has_scheme(model):
                raise InvalidInputError(
                    f"There is no folder {shown_uri(model)} to register, and it is not a model URI: "
                    "these begin with models:/, runs:/ or the scheme of an artifact store."
                )
            return self._of_uri(parse_model_uri(model))
        metrics = numeric_metrics(own_metrics(model))
        with tempfile.TemporaryDirectory(prefix="hokusai-model-") as parent:
            folder = Path(parent) / "model"
            save_model(model, folder, **save_options)
            with self._start_run(f"register {name}"[: limits.RUN_NAME_CHARACTERS]) as run:
                logged = run.log_model(folder, "model")
                if metrics:
                    run.log_metrics(metrics)
        return ModelSource(logged.model_uri, logged.run_id, logged.logged_model_id or None)

    def download(self, model_uri: str, folder: Path) -> Path:
        """Download a model's files, also those that still wait, and give the folder.

        Raises:
            ModelNotFoundError: There is no such model.
            InvalidInputError: It is a URI that only an artifact store understands.
            TransientError: The primary is away, and has the files, or alone can find them.
        """
        reference = parse_model_uri(model_uri)
        if reference.kind in ("version", "alias"):
            version = self.version(reference)
            if version.source != "fallback" and version.version.isdigit():
                return self._runtime.registry.download_model(version.name, version.version, folder)
            # While it waits, or the primary is away, the journal may have the files.
            reference = _readable_source(version)
        if reference.kind == "logged":
            owner = ArtifactOwner(kind="model", id=reference.model_id)
            run_id = self._runtime.runs.run_of_logged_model(reference.model_id) or ""
            return self._runtime.runs.download_artifacts(owner, run_id, "", folder)
        if reference.kind == "run":
            return self._download_of_run(reference, folder)
        raise InvalidInputError(
            f"{shown_uri(model_uri)} cannot be loaded here; register it, and load "
            "models:/name/version."
        )

    def version(self, reference: ModelReference) -> ModelVersion:
        """Get the version that a reference of kind ``version`` or ``alias`` names."""
        if reference.kind == "alias":
            return self._runtime.registry.get_version_by_alias(reference.name, reference.alias)
        return self._runtime.registry.get_version(reference.name, reference.version)

    def _of_uri(self, reference: ModelReference) -> ModelSource:
        if reference.kind == "logged":
            run_id = self._runtime.runs.run_of_logged_model(reference.model_id)
            return ModelSource(reference.uri, run_id, reference.model_id)
        if reference.kind == "run":
            # Where the primary does not say, the logged model is found on delivery.
            with contextlib.suppress(TransientError):
                if model_id := self._logged_under(reference):
                    return ModelSource(f"models:/{model_id}", reference.run_id, model_id)
            return ModelSource(reference.uri, reference.run_id)
        if reference.kind in ("version", "alias"):
            version = self.version(reference)
            return ModelSource(version.source_uri, version.run_id, version.model_id)
        if reference.uri.lower().startswith("file:"):
            raise InvalidInputError(
                f"{shown_uri(reference.uri)} is a local address, which a server cannot read. Pass the "
                "folder itself, and its files are uploaded."
            )
        if len(reference.uri) > limits.SOURCE_CHARACTERS:
            raise InvalidInputError(
                f"The model URI has {len(reference.uri)} characters; MLflow allows "
                f"{limits.SOURCE_CHARACTERS}."
            )
        return ModelSource(reference.uri)

    def _logged_under(self, reference: ModelReference) -> str | None:
        """Give the logged model that a run has under a path; None where it has files there, if any.

        A run's models have files of their own; the address ``runs:/run_id/name`` means them, too.
        """
        if not reference.path or not self._runtime.can("logged_models"):
            return None
        return self._runtime.runs.logged_model_named(reference.run_id, reference.path)

    def _download_of_run(self, reference: ModelReference, folder: Path) -> Path:
        """Download what ``runs:/run_id/path`` means: a logged model of that name, else the files."""
        unknown: TransientError | None = None
        try:
            model_id = self._logged_under(reference)
        except TransientError as failure:
            model_id, unknown = None, failure
        runs = self._runtime.runs
        if model_id:
            owner = ArtifactOwner(kind="model", id=model_id)
            return runs.download_artifacts(owner, reference.run_id, "", folder)
        owner = ArtifactOwner(kind="run", id=reference.run_id)
        try:
            return runs.download_artifacts(owner, reference.run_id, reference.path, folder)
        except NotFoundError as missing:
            if unknown is None:
                raise
            # There may be a logged model of the name all the same.
            raise unknown from missing


def _readable_source(version: ModelVersion) -> ModelReference:
    """Give where the files of a version are that is not, or not now, read by the primary.

    Raises:
        UnavailableError: Only the primary can find them.
    """
    with contextlib.suppress(InvalidInputError):
        reference = parse_model_uri(version.source_uri)
        if reference.kind in ("logged", "run"):
            return reference
    raise UnavailableError(
        f"Version {version.version} of {version.name!r} cannot be loaded now: its files are at "
        f"{shown_uri(version.source_uri)}, which is read through the server, and that is away or does "
        "not have the version yet. Try again when `hokusai status` says that nothing waits."
    )
