"""The part of a run handle that logs and reads files and models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai_core import validation
from hokusai_core.contents import (
    Content,
    content_of_dict,
    content_of_figure,
    content_of_text,
    contents_of_folder,
    contents_of_path,
    local,
)
from hokusai_core.entities import FileInfo
from hokusai_core.errors import InvalidInputError
from hokusai_core.identifiers import is_provisional
from hokusai_core.logged_models import LoggedModelInfo, ModelLogger
from hokusai_core.operations import ArtifactOwner, LogArtifact

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime


class RunFiles:
    """Logs and reads the files of one run.

    Args:
        runtime: The machinery.
        run_id: The run.
        experiment_id: Its experiment; "" where it is not known.
    """

    def __init__(self, runtime: "Runtime", run_id: str, experiment_id: str) -> None:
        self._runtime = runtime
        self._run_id = run_id
        self._experiment_id = experiment_id
        self._models = ModelLogger(runtime, self._log_contents)

    def log_artifact(self, local_path: str | Path, artifact_path: str | None = None) -> None:
        """Log a local file, or a folder under its own name. The bytes are copied now.

        Args:
            local_path: The file or folder.
            artifact_path: Folder among the run's artifacts; None is the root.
        """
        self._log_contents(self._owner(), list(contents_of_path(local_path, artifact_path)))

    def log_artifacts(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        """Log every file below a local folder."""
        folder = local(local_dir)
        self._log_contents(self._owner(), list(contents_of_folder(folder, artifact_path)))

    def log_artifacts_dict(self, artifacts: Mapping[str, str | Path]) -> None:
        """Log several local files at once; all are read before the first is logged.

        Args:
            artifacts: A file's or folder's path by any name of yours. Each goes to the root, under
                its own file name.

        Raises:
            InvalidInputError: A file cannot be read, or two have the same file name. Nothing was
                logged.
        """
        contents = [
            content
            for path in validation.mapping(artifacts, "artifacts").values()
            for content in contents_of_path(path, None)
        ]
        paths = [content.path for content in contents]
        if twice := sorted({path for path in paths if paths.count(path) > 1}):
            raise InvalidInputError(f"Two of the artifacts would be logged as {twice[0]!r}.")
        self._log_contents(self._owner(), contents)

    def log_dict(self, dictionary: Any, artifact_file: str) -> None:
        """Log a dict or list as a JSON file, or YAML by the name's ending."""
        self._log_contents(self._owner(), [content_of_dict(dictionary, artifact_file)])

    def log_text(self, text: str, artifact_file: str) -> None:
        """Log a text as a UTF-8 file."""
        self._log_contents(self._owner(), [content_of_text(text, artifact_file)])

    def log_figure(self, figure: Any, artifact_file: str) -> None:
        """Log a matplotlib or plotly figure, in the format of the file's name."""
        self._log_contents(self._owner(), [content_of_figure(figure, artifact_file)])

    def log_model(
        self,
        model: Any,
        name: str = "model",
        *,
        flavor: str | None = None,
        signature: Any = None,
        input_example: Any = None,
        pip_requirements: list[str] | None = None,
        registered_model_name: str | None = None,
    ) -> LoggedModelInfo:
        """Save a model with MLflow's flavours and log it, on MLflow 3 as a logged model.

        Args:
            model: A scikit-learn estimator, an MLflow ``PythonModel``, a folder with a saved model,
                a Hokusai-style metadata object, or with ``flavor`` what that flavour saves.
            name: Name of the logged model; no ``/`` or ``:``.
            flavor: Name of an MLflow flavour, where the model does not tell it.
            signature: An MLflow ``ModelSignature``.
            input_example: Rows to derive the signature from.
            pip_requirements: Packages for serving; not given, the flavour's own.
            registered_model_name: Register a version of this model, too.

        Returns:
            The model's URI and ids; these are provisional while ``sync_state`` is ``pending``.

        Raises:
            BackendNotInstalledError: The model's library, or MLflow, is not installed.
        """
        return self._models.log(
            model,
            name,
            run_id=self._run_id,
            experiment_id=self._experiment_id,
            flavor=flavor,
            signature=signature,
            input_example=input_example,
            pip_requirements=pip_requirements,
            registered_model_name=registered_model_name,
        )

    def list_artifacts(self, path: str = "") -> tuple[FileInfo, ...]:
        """List one folder of the run's artifacts ("" is the root), with files that still wait."""
        folder = validation.plain_path(path) if path else ""
        return self._runtime.runs.list_artifacts(self._owner(), self._run_id, folder)

    def download_artifacts(self, path: str = "", dst: str | Path = ".") -> Path:
        """Download a file or folder of the run's artifacts, with files that still wait.

        Args:
            path: Relative to the root; "" is everything.
            dst: Local folder, made if need be.

        Returns:
            The local path of what was asked for.
        """
        target = validation.plain_path(path) if path else ""
        return self._runtime.runs.download_artifacts(
            self._owner(), self._run_id, target, local(dst)
        )

    def _owner(self) -> ArtifactOwner:
        return ArtifactOwner(kind="run", id=self._run_id)

    def _log_contents(
        self, owner: ArtifactOwner, contents: Sequence[Content], rewrite: Sequence[str] = ()
    ) -> None:
        """Log files; those named in ``rewrite`` hold ids that are exchanged on delivery."""
        for content in contents:
            references: tuple[str, ...] = ()
            if content.path in rewrite:
                names = (self._run_id, owner.id)
                references = tuple(name for name in dict.fromkeys(names) if is_provisional(name))
            self._runtime.router.write(
                LogArtifact(
                    run_id=self._run_id,
                    owner=owner,
                    path=content.path,
                    size=content.size,
                    sha256=content.sha256,
                    rewrites_ids=bool(references),
                    content_references=references,
                ),
                content.open,
            )
