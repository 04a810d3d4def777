"""Artifacts of runs and logged models: the tree of files; their bytes are in the contents."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from hokusai_backend_sql.content import (
    CHUNK_BYTES,
    Digest,
    Staged,
    drop_reference,
    open_content,
    store_content,
)
from hokusai_backend_sql.records_schema import artifacts
from hokusai_backend_sql.upsert import overwrite
from hokusai_core.entities import FileInfo
from hokusai_core.errors import NotFoundError, RejectedError
from hokusai_core.operations import ArtifactOwner

if TYPE_CHECKING:
    from hokusai_backend_sql.engine import Database


def put_file(
    connection: Connection,
    owner: ArtifactOwner,
    path: str,
    opener: Callable[[], BinaryIO],
    digest: Digest | None = None,
    *,
    staged: Staged = (),
) -> None:
    """Store a file over what is at the path.

    Args:
        connection: A write transaction.
        owner: Whose file.
        path: Relative to the owner's root.
        opener: Opens the bytes.
        digest: Their SHA-256 and size, where they are known.
        staged: SHA-256 of their chunks, where these are stored already.

    Raises:
        RejectedError: The path is a folder, a part of it is a file, or it is not a plain path.

    """
    _lock(connection, owner)
    _check_place(connection, owner, path)
    before = connection.scalar(
        select(artifacts.c.content).where(_of(owner), artifacts.c.path == path)
    )
    sha256, size = store_content(connection, opener, digest, staged=staged)
    overwrite(
        connection,
        artifacts,
        [
            {
                "owner_kind": owner.kind,
                "owner_id": owner.id,
                "path": path,
                "content": sha256,
                "size": size,
            }
        ],
    )
    if before is not None:
        drop_reference(connection, before)


def list_folder(connection: Connection, owner: ArtifactOwner, path: str) -> tuple[FileInfo, ...]:
    """List the files and folders that are directly in a folder, by path."""
    prefix = f"{path}/" if path else ""
    found: dict[str, FileInfo] = {}
    rows = connection.execute(
        select(artifacts.c.path, artifacts.c.size).where(_of(owner), _below(path))
    )
    for row in rows:
        name, slash, _ = row.path.removeprefix(prefix).partition("/")
        child = prefix + name
        found[child] = FileInfo(
            path=child, is_dir=bool(slash), file_size=None if slash else row.size
        )
    return tuple(found[child] for child in sorted(found))


def download_file(database: "Database", owner: ArtifactOwner, path: str, destination: Path) -> Path:
    """Write one file's bytes to ``destination``, whose folder is made where it is missing."""
    with database.connect() as connection:
        sha256 = connection.scalar(
            select(artifacts.c.content).where(_of(owner), artifacts.c.path == path)
        )
    if sha256 is None:
        raise NotFoundError(f"The {owner.kind} {owner.id!r} has no artifact file {path!r}.")
    _write(database, sha256, destination)
    return destination


def download_tree(database: "Database", owner: ArtifactOwner, path: str, destination: Path) -> Path:
    """Write everything below a folder ("" is the root), or one file, into a folder."""
    with database.connect() as connection:
        rows = connection.execute(
            select(artifacts.c.path, artifacts.c.content).where(
                _of(owner), _below(path) if path else true()
            )
        ).all()
        if path and not rows:
            rows = connection.execute(
                select(artifacts.c.path, artifacts.c.content).where(
                    _of(owner), artifacts.c.path == path
                )
            ).all()
    if not rows:
        raise NotFoundError(f"The {owner.kind} {owner.id!r} has no artifacts at {path!r}.")
    destination.mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = (
            row.path.rpartition("/")[2] if row.path == path else row.path.removeprefix(f"{path}/")
        )
        _write(database, row.content, destination / name)
    return destination


def _write(database: "Database", sha256: str, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with open_content(database, sha256) as source, destination.open("wb") as target:
        while block := source.read(CHUNK_BYTES):
            target.write(block)


def _lock(connection: Connection, owner: ArtifactOwner) -> None:
    """Let one transaction at a time change an owner's files (SQLite has one writer anyway)."""
    if connection.dialect.name == "postgresql":
        key = func.hashtextextended(f"hokusai/{owner.kind}/{owner.id}", 0)
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def _check_place(connection: Connection, owner: ArtifactOwner, path: str) -> None:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise RejectedError(
            f"The artifact path {path!r} leads out of its root, or is not plain. Give the file a "
            "relative path with '/' between plain parts."
        )
    below = connection.scalar(select(artifacts.c.path).where(_of(owner), _below(path)).limit(1))
    if below is not None:
        raise RejectedError(
            f"{path!r} is a folder among the artifacts of {owner.kind} {owner.id!r} (it holds "
            f"{below!r}). Give the file another path."
        )
    above = connection.scalar(
        select(artifacts.c.path).where(_of(owner), artifacts.c.path.in_(list(_folders(path))))
    )
    if above is not None:
        raise RejectedError(
            f"{above!r} is a file among the artifacts of {owner.kind} {owner.id!r}, so {path!r} "
            "cannot be below it. Give the file another path."
        )


def _folders(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _of(owner: ArtifactOwner) -> ColumnElement[bool]:
    return and_(artifacts.c.owner_kind == owner.kind, artifacts.c.owner_id == owner.id)


def _below(folder: str) -> ColumnElement[bool]:
    """Select by a range, which an index serves: "0" is the character that follows "/"."""
    if not folder:
        return true()
    return and_(artifacts.c.path > f"{folder}/", artifacts.c.path < f"{folder}0")
