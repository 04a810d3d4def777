"""Logging a model under a run: save, create, upload, finalize."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai_core import validation
from hokusai_core.contents import Content, contents_of_folder
from hokusai_core.entities import SyncState
from hokusai_core.model_files import MODEL_FILE, describe_owner, save_model
from hokusai_core.operations import (
    ArtifactOwner,
    CreateLoggedModel,
    FinalizeLoggedModel,
    Value,
)
from hokusai_core.versions import register_version

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime

LogContents = Callable[[ArtifactOwner, Sequence[Content], Sequence[str]], None]


class LoggedModelInfo(Value):
    """What :meth:`RunHandle.log_model` made.

    ``model_uri`` loads it; ``logged_model_id`` is "" on a backend without logged models, where the
    files are the run's artifacts. While ``sync_state`` is ``pending`` the ids are provisional.
    """

    name: str
    model_uri: str
    run_id: str
    logged_model_id: str = ""
    registered_model_version: str = ""
    sync_state: SyncState = "delivered"


class ModelLogger:
    """Logs models through a router.

    Args:
        runtime: The machinery.
        log_contents: Logs files of an owner.
    """

    def __init__(self, runtime: "Runtime", log_contents: LogContents) -> None:
        self._runtime = runtime
        self._log_contents = log_contents

    def log(
        self,
        model: Any,
        name: str,
        *,
        run_id: str,
        experiment_id: str,
        flavor: str | None,
        signature: Any,
        input_example: Any,
        pip_requirements: list[str] | None,
        registered_model_name: str | None,
    ) -> LoggedModelInfo:
        """Save and log a model; see :meth:`RunHandle.log_model`."""
        name = validation.model_name(name)
        if registered_model_name is not None:
            validation.model_name(registered_model_name)
        with tempfile.TemporaryDirectory(prefix="hokusai-model-") as parent:
            folder = Path(parent) / "model"
            save_model(
                model,
                folder,
                flavor=flavor,
                signature=signature,
                input_example=input_example,
                pip_requirements=pip_requirements,
            )
            if self._runtime.can("logged_models"):
                info = self._as_logged_model(folder, name, run_id, experiment_id)
            else:
                info = self._as_run_artifacts(folder, name, run_id)
        if registered_model_name is None:
            return info
        version = register_version(
            self._runtime,
            registered_model_name,
            source=info.model_uri,
            run_id=run_id,
            model_id=info.logged_model_id or None,
        )
        return info.model_copy(update={"registered_model_version": version.version})

    def _as_logged_model(
        self, folder: Path, name: str, run_id: str, experiment_id: str
    ) -> LoggedModelInfo:
        router = self._runtime.router
        created = router.write(
            CreateLoggedModel(run_id=run_id, experiment_id=experiment_id, name=name)
        )
        model_id = created.identifier
        describe_owner(folder, run_id=run_id, model_id=model_id, artifact_path=name)
        self._log_contents(
            ArtifactOwner(kind="model", id=model_id),
            list(contents_of_folder(folder, None)),
            (MODEL_FILE,),
        )
        finalized = router.write(FinalizeLoggedModel(run_id=run_id, model_id=model_id, name=name))
        return LoggedModelInfo(
            name=name,
            model_uri=f"models:/{model_id}",
            run_id=run_id,
            logged_model_id=model_id,
            sync_state=finalized.state,
        )

    def _as_run_artifacts(self, folder: Path, name: str, run_id: str) -> LoggedModelInfo:
        describe_owner(folder, run_id=run_id, model_id="", artifact_path=name)
        self._log_contents(
            ArtifactOwner(kind="run", id=run_id),
            list(contents_of_folder(folder, name)),
            (f"{name}/{MODEL_FILE}",),
        )
        state: SyncState = (
            "pending" if self._runtime.streams.is_queued(f"artifacts/{run_id}") else "delivered"
        )
        return LoggedModelInfo(
            name=name, model_uri=f"runs:/{run_id}/{name}", run_id=run_id, sync_state=state
        )
