"""Examines where the SQL backend keeps its database: the folder of a file, and what a URL shows."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from hokusai_backend_sql.file_systems import file_system_of, is_network_file_system
from hokusai_core.findings import Finding
from hokusai_core.plugins import Role

_LITTLE_SPACE = 1024**3
_NAMES = {"primary": "database", "journal": "journal file", "spool": "spool file"}


def examine(path: Path, role: Role) -> tuple[Finding, ...]:
    """Look at a SQLite file, which need not exist, and at its file system. Writes nothing.

    Args:
        path: Absolute path of the file.
        role: What the file is for.
    """
    return tuple(_findings(path, _NAMES[role]))


def _findings(path: Path, name: str) -> Iterator[Finding]:
    # By the table of mounts first: to touch a share whose server is away may take for ever.
    kind = file_system_of(path.parent)
    if not is_network_file_system(kind):
        # Path.exists would raise where a folder above may not be entered.
        folder = next(each for each in path.parents if os.access(each, os.F_OK))
        kind = file_system_of(folder.resolve())
    if is_network_file_system(kind):
        yield Finding(
            name=name,
            state="failed",
            text=f"{path} is on a network file system ({kind}), where locks do not hold.",
            advice="Set HOKUSAI_DATA_DIR to a local folder, or use PostgreSQL.",
        )
        return
    if not folder.is_dir():
        yield Finding(
            name=name,
            state="failed",
            text=f"{folder} is no folder.",
            advice="Move it away, or set HOKUSAI_DATA_DIR to another folder.",
        )
        return
    if (unwritable := _unwritable(folder, path)) is not None:
        yield Finding(
            name=name,
            state="failed",
            text=f"{unwritable} cannot be written by this user.",
            advice="Change its permissions, or set HOKUSAI_DATA_DIR to another folder.",
        )
        return
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_SPACE:
        yield Finding(
            name=name,
            state="warning",
            text=f"only {free / 1024**2:.0f} MiB are free at {path}.",
            advice="Free some space: a journal that cannot grow takes no more records.",
        )
    if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            name=name,
            state="warning",
            text=f"other users can open {path}, which holds what is logged.",
            advice=f"chmod 600 {path}",
        )
    yield Finding(
        name=name,
        state="ok",
        text=f"{path} ({kind or 'unknown file system'}, {free / 1024**3:.0f} GiB free)",
    )


def _unwritable(folder: Path, path: Path) -> Path | None:
    """Give what keeps this user from writing the file; SQLite makes others beside it, too."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return folder
    there = os.access(path, os.F_OK)
    return path if there and not os.access(path, os.W_OK) else None
