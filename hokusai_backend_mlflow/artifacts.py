"""Files of runs and models: through the tracking server, or by MLflow's repositories."""

import os
import posixpath
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import requests

from hokusai_backend_mlflow import convert
from hokusai_backend_mlflow.destination import is_http
from hokusai_backend_mlflow.errors import from_failure, from_mlflow
from hokusai_backend_mlflow.transport import Transport, joined, not_mlflows
from hokusai_backend_mlflow.watched_sockets import Watch
from hokusai_core.entities import FileInfo
from hokusai_core.errors import BackendError, NotFoundError
from hokusai_core.hookspecs import OpenContent

SERVICE = "/api/2.0/mlflow-artifacts/artifacts"
_BLOCK = 1 << 20


class ArtifactRoot:
    """The files below one URI.

    Args:
        uri: Where they are: ``mlflow-artifacts:/...``, a path, or an object store's URI.
        tracking_uri: The tracking server, for MLflow's repositories.
        transport: The way to the tracking server; None where it is a database.
        idle_seconds: Longest time without progress. Object stores have their own.

    """

    def __init__(
        self, uri: str, tracking_uri: str, transport: Transport | None, idle_seconds: float
    ) -> None:
        self._files: _ProxiedFiles | _RepositoryFiles
        proxied = urlsplit(uri).scheme == "mlflow-artifacts" or (is_http(uri) and SERVICE in uri)
        if transport is not None and proxied:
            self._files = _ProxiedFiles(uri, transport, idle_seconds)
        else:
            self._files = _RepositoryFiles(uri, tracking_uri)

    def put(self, path: str, open_content: OpenContent, size: int | None) -> None:
        """Store one file; ``size`` is its length in bytes where that is known."""
        self._files.put(path, open_content, size)

    def listing(self, path: str) -> tuple[FileInfo, ...]:
        """List one folder ("" is the root), by path; () where there is nothing."""
        return tuple(sorted(self._files.listing(path), key=lambda entry: entry.path))

    def fetch(self, path: str, destination: Path) -> Path:
        """Write one file's bytes to the file ``destination``; raises NotFoundError."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(destination) as temporary:
            self._files.fetch(path, temporary)
        return destination

    def fetch_all(self, folder: Path, path: str = "") -> int:
        """Write every file below ``path`` into the folder; returns how many there are."""
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        for entry in self.listing(path):
            if entry.is_dir:
                count += self.fetch_all(folder / posixpath.basename(entry.path), entry.path)
            else:
                self.fetch(entry.path, folder / posixpath.basename(entry.path))
                count += 1
        return count


class _ProxiedFiles:
    """Files that the tracking server hands through."""

    def __init__(self, uri: str, transport: Transport, idle_seconds: float) -> None:
        parts = urlsplit(uri)
        tail = uri.partition(SERVICE)[2] if parts.scheme in ("http", "https") else parts.path
        self._root = tail.strip("/")
        self._base = _base(uri, transport)
        self._transport = transport
        self._idle: Callable[[], float] = lambda: idle_seconds

    def put(self, path: str, open_content: OpenContent, size: int | None) -> None:
        with open_content() as content:
            length = _length(content, size)
            body: Any = _Sized(content, length) if length else content.read()
            answer = self._send("PUT", self._endpoint(path), data=body, writes=True)
        if answer.content.strip() not in (b"", b"{}"):  # MLflow's answer has no body
            what = f"Storing {path!r} at {self._transport.shown_uri}"
            raise not_mlflows(answer, what)

    def listing(self, path: str) -> list[FileInfo]:
        answer = self._send("GET", SERVICE, params={"path": posixpath.join(self._root, path)})
        try:
            found = [
                convert.file_info(
                    posixpath.join(path, _plain(entry["path"])),
                    is_dir=bool(entry["is_dir"]),
                    size=int(entry.get("file_size") or 0),
                )
                for entry in answer.json().get("files", [])
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
            what = f"Listing artifacts at {self._transport.shown_uri}"
            raise not_mlflows(answer, what) from cause
        itself = posixpath.join(path, posixpath.basename(path))
        return [] if path and [entry.path for entry in found] == [itself] else found

    def fetch(self, path: str, destination: Path) -> None:
        watch = Watch(self._idle)
        answer = self._transport.send(
            "GET", self._endpoint(path), watch, base=self._base, stream=True
        )
        try:
            with answer, destination.open("wb") as file:
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
        except requests.RequestException as cause:
            what = f"Downloading {path!r} from {self._transport.shown_uri}"
            raise from_failure(cause, what, sent=True, proven=True, seconds=self._idle()) from cause

    def _endpoint(self, path: str) -> str:
        return f"{SERVICE}/{quote(posixpath.join(self._root, path))}"

    def _send(self, method: str, endpoint: str, **content: Any) -> requests.Response:
        return self._transport.send(method, endpoint, Watch(self._idle), base=self._base, **content)


class _RepositoryFiles:
    """Files on a local path or in an object store, by MLflow's own repositories."""

    def __init__(self, uri: str, tracking_uri: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        self._shown = urlsplit(uri).scheme or "local files"
        with self._translated("Opening the artifact store"):
            self._repository = get_artifact_repository(uri, tracking_uri=tracking_uri)

    def put(self, path: str, open_content: OpenContent, size: int | None) -> None:
        del size
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            copy = Path(folder) / posixpath.basename(path)
            with open_content() as content, copy.open("wb") as file:
                shutil.copyfileobj(content, file, _BLOCK)
            with self._translated(f"Storing {path!r}"):
                self._repository.log_artifact(str(copy), posixpath.dirname(path) or None)

    def listing(self, path: str) -> list[FileInfo]:
        with self._translated(f"Listing {path!r}"):
            return [
                convert.file_info(entry.path, is_dir=entry.is_dir, size=entry.file_size)
                for entry in self._repository.list_artifacts(path or None)
            ]

    def fetch(self, path: str, destination: Path) -> None:
        with self._translated(f"Downloading {path!r}"):
            self._repository._download_file(path, str(destination))

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except BackendError:
            raise
        except FileNotFoundError as cause:
            raise NotFoundError(f"{what}: there is no such file in the artifact store.") from cause
        except Exception as cause:
            raise from_mlflow(cause, f"{what} ({self._shown})", ambiguous=True) from cause


class _Sized:
    """A stream that tells its length, so that it is sent with one and not in chunks."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self._left = length

    def __len__(self) -> int:
        return self._left

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes, and no more than the length that was told."""
        wanted = self._left if size < 0 else min(size, self._left)
        block = self._stream.read(wanted)
        if wanted and not block:
            raise OSError("the content ends before its stated length")
        self._left -= len(block)
        return block


def _length(content: BinaryIO, size: int | None) -> int:
    """Give the bytes that a stream holds from here on."""
    if not content.seekable():
        return size or 0
    here = content.tell()
    end = content.seek(0, os.SEEK_END)
    content.seek(here)
    return end - here


def _base(uri: str, transport: Transport) -> str:
    """Give the server that an artifact URI names; "" for the tracking server itself."""
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts":
        return joined(transport.uri, parts.netloc) if parts.netloc else ""
    return uri.partition(SERVICE)[0]


def _plain(name: str) -> str:
    """Check a name that a server listed: nothing that leads out of the folder."""
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or not name:
        raise ValueError("a listed name leads out of its folder")
    return name


@contextmanager
def _replacing(destination: Path) -> Iterator[Path]:
    """Give a temporary file beside the destination that takes its place when all went well."""
    handle, name = tempfile.mkstemp(prefix=".hokusai-", dir=destination.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
