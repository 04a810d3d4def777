"""The object with the hooks of both specifications."""

from pathlib import Path

from hokusai_backend_files.lines import Folder
from hokusai_backend_files.registry import FilesRegistry
from hokusai_backend_files.tracking import FilesTracking


class FilesBackend(FilesTracking, FilesRegistry):
    """Experiments, runs, artifacts and models in one folder.

    Args:
        root: The folder; it is made with the first write.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
