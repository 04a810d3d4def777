"""The hooks for artifacts."""

from pathlib import Path

from hokusai_backend_mlflow.client import Client
from hokusai_core import validation
from hokusai_core.clock import Deadline
from hokusai_core.entities import FileInfo, Receipt
from hokusai_core.hookspecs import OpenContent
from hokusai_core.markers import hookimpl
from hokusai_core.operations import ArtifactOwner, LogArtifact


class ArtifactHooks:
    """Files of runs and logged models."""

    _client: Client

    @hookimpl
    def tracking_log_artifact(
        self, operation: LogArtifact, open_content: OpenContent, deadline: Deadline
    ) -> Receipt:
        """Store one file."""
        root = self._client.owner_root(operation.owner, deadline)
        root.put(operation.path, open_content, None if operation.rewrites_ids else operation.size)
        return Receipt()

    @hookimpl
    def tracking_list_artifacts(
        self, owner: ArtifactOwner, path: str, deadline: Deadline
    ) -> tuple[FileInfo, ...]:
        """List one folder."""
        folder = validation.plain_path(path) if path else ""
        return self._client.owner_root(owner, deadline).listing(folder)

    @hookimpl
    def tracking_download_artifact(
        self, owner: ArtifactOwner, path: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Write one file's bytes to ``destination``."""
        file = validation.plain_path(path)
        return self._client.owner_root(owner, deadline).fetch(file, destination)
