"""The manifest. Importing it imports nothing of the backend."""

from pathlib import Path
from typing import ClassVar

from hokusai_core.backend_tools import BackendConfig, BackendPlugin, EnvironmentModel, machine_id


class FilesSettings(EnvironmentModel):
    """The settings of this backend, read from ``FILES_BACKEND_*``."""

    environment_prefix: ClassVar[str] = "FILES_BACKEND_"

    folder: Path | None = None
    """Where everything is kept; not set, the folder ``files`` in Hokusai's data folder."""


def _folder(config: BackendConfig) -> Path:
    return (FilesSettings().folder or config.data_dir / "files").absolute()


def _open(config: BackendConfig) -> object:
    from hokusai_backend_files.backend import FilesBackend

    return FilesBackend(_folder(config))


def _destination(config: BackendConfig) -> str:
    # The same path is another folder on another machine.
    return config.settings.destination or f"files://{machine_id()}{_folder(config).as_posix()}"


plugin = BackendPlugin(
    name="files",
    capabilities=frozenset({"tracking", "registry", "artifacts"}),
    open=_open,
    destination=_destination,
    requires=("filelock",),
)
"""Runs, models and artifacts in a folder."""
