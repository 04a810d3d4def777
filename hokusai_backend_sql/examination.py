"""Examines where the SQL backend keeps its database: the folder of a file, and what a URL shows."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from hokusai_backend_sql.database_url import database_url
from hokusai_backend_sql.sqlite_file import file_system_of, is_network_file_system
from hokusai_core.findings import Finding
from hokusai_core.plugins import BackendConfig

_LITTLE_SPACE = 1024**3
_NAMES = {"primary": "database", "journal": "journal file", "spool": "spool file"}


def examine(config: BackendConfig) -> tuple[Finding, ...]:
    """Look at the file system of a SQLite file; a server is asked by others. Writes nothing.

    Raises:
        ConfigurationError: The database URL is wrong.
    """
    url = database_url(config)
    if url.get_backend_name() != "sqlite":
        return ()
    return tuple(_file(Path(url.database or ""), _NAMES[config.role]))


def _file(path: Path, name: str) -> Iterator[Finding]:
    folder = next(each for each in path.parents if each.exists())
    kind = file_system_of(folder.resolve())
    if is_network_file_system(kind):
        yield Finding(
            name=name,
            state="failed",
            text=f"{path} is on a network file system ({kind}), where locks do not hold.",
            advice="Set HOKUSAI_DATA_DIR to a local folder, or use PostgreSQL.",
        )
        return
    target = path if path.exists() else folder
    if not os.access(target, os.W_OK):
        yield Finding(
            name=name,
            state="failed",
            text=f"{target} cannot be written by this user.",
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
