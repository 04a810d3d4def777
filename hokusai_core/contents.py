"""Bytes that a user logs: of a file, or from memory; hashed when the user calls."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from hokusai_core import validation
from hokusai_core.errors import InvalidInputError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Content:
    """Bytes to be logged under a path.

    Args:
        path: Relative to the owner's root.
        size: In bytes.
        sha256: Digest in hexadecimal.
        source: The file, or the bytes themselves.
    """

    path: str
    size: int
    sha256: str
    source: Path | bytes

    def open(self) -> BinaryIO:
        """Open the bytes from the beginning."""
        if isinstance(self.source, bytes):
            return io.BytesIO(self.source)
        return self.source.open("rb")


def content_of_bytes(path: str, data: bytes) -> Content:
    """Give bytes in memory as content."""
    return Content(path, len(data), hashlib.sha256(data).hexdigest(), data)


def content_of_file(path: str, file: Path) -> Content:
    """Give a file as content; it is read once for its digest.

    Raises:
        InvalidInputError: The file is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as cause:
        raise InvalidInputError(
            f"The artifact {str(file)!r} cannot be read: {cause.strerror or cause}."
        ) from cause
    return Content(path, size, digest.hexdigest(), file)


def contents_of_path(local_path: object, artifact_path: str | None) -> Iterator[Content]:
    """Give a file, or every file below a folder (under the folder's own name), as MLflow does."""
    path = local(local_path)
    target = join(artifact_path, path.name)
    if path.is_dir():
        yield from contents_of_folder(path, target)
    else:
        yield content_of_file(target, path)


def contents_of_folder(folder: Path, artifact_path: str | None) -> Iterator[Content]:
    """Give every file below a folder, sorted, each under its path in the folder.

    Raises:
        InvalidInputError: It is no folder, or a file in it cannot be read.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{str(folder)!r} is not a folder; log a file with log_artifact.")
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield content_of_file(join(artifact_path, file.relative_to(folder).as_posix()), file)


def content_of_dict(dictionary: object, artifact_file: object) -> Content:
    """Give a dict or list as JSON, or as YAML where the file's name ends with ``.yaml`` or ``.yml``.

    Raises:
        InvalidInputError: It cannot be written as such.
    """
    path = validation.artifact_path(artifact_file, "artifact_file")
    if path.endswith((".yaml", ".yml")):
        return content_of_bytes(path, _as_yaml(dictionary).encode())
    try:
        text = json.dumps(dictionary, indent=2, default=_as_plain)
    except (TypeError, ValueError) as cause:
        raise InvalidInputError(f"{path!r} cannot be written as JSON: {cause}.") from cause
    return content_of_bytes(path, text.encode())


def content_of_text(text: object, artifact_file: object) -> Content:
    """Give a text as UTF-8."""
    path = validation.artifact_path(artifact_file, "artifact_file")
    if not isinstance(text, str):
        raise InvalidInputError(f"The text for {path!r} must be a str, not {type(text).__name__}.")
    try:
        return content_of_bytes(path, text.encode())
    except UnicodeEncodeError as cause:
        raise InvalidInputError(f"The text for {path!r} cannot be encoded as UTF-8.") from cause


def content_of_figure(figure: Any, artifact_file: object) -> Content:
    """Give a matplotlib figure in the format of the file's name, or a plotly figure as HTML or image.

    Raises:
        InvalidInputError: It is neither, or cannot be drawn in that format.
    """
    path = validation.artifact_path(artifact_file, "artifact_file")
    buffer = io.BytesIO()
    suffix = path.rpartition(".")[2].lower() if "." in path else "png"
    try:
        if hasattr(figure, "savefig"):
            figure.savefig(buffer, format=suffix)
            return content_of_bytes(path, buffer.getvalue())
        if suffix == "html" and hasattr(figure, "to_html"):
            return content_of_bytes(path, figure.to_html(include_plotlyjs="cdn").encode())
        if hasattr(figure, "to_image"):
            return content_of_bytes(path, cast("bytes", figure.to_image(format=suffix)))
    except (ValueError, RuntimeError) as cause:
        raise InvalidInputError(f"The figure cannot be drawn as {path!r}: {cause}.") from cause
    raise InvalidInputError(f"{type(figure).__name__} is neither a matplotlib nor a plotly figure.")


def local(path: object) -> Path:
    """Check a local path."""
    if not isinstance(path, str | Path) or not str(path).strip():
        raise InvalidInputError(f"A local path must be a str or Path, not {type(path).__name__}.")
    try:
        return Path(path).resolve()
    except (OSError, ValueError) as cause:
        raise InvalidInputError(f"{path!r} is not a path: {cause}.") from cause


def join(folder: str | None, name: str) -> str:
    """Join an artifact folder (None or "" for the root) and a name to a checked path."""
    path = f"{validation.artifact_path(folder)}/{name}" if folder else name
    return validation.artifact_path(path)


def _as_plain(value: Any) -> Any:
    """Turn numpy scalars and arrays into what JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _as_yaml(dictionary: object) -> str:
    try:
        import yaml
    except ImportError as cause:
        raise InvalidInputError(
            "Writing YAML needs PyYAML: pip install pyyaml, or use a .json name."
        ) from cause
    try:
        return yaml.safe_dump(dictionary, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as cause:
        raise InvalidInputError(f"The dict cannot be written as YAML: {cause}.") from cause
