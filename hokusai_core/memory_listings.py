"""Pages and folders cut out of what is all in memory."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from hokusai_core.entities import FileInfo, Page
from hokusai_core.errors import InvalidInputError

T = TypeVar("T")


def page_offset(token: str) -> int:
    """Read a page token: how many results came before; InvalidInputError for a foreign one."""
    if not token:
        return 0
    if not (token.isascii() and token.isdigit()):
        raise InvalidInputError(f"The page token {token!r} is not one that this store gave.")
    return int(token)


def page_of(items: Sequence[T], first: int, size: int) -> Page[T]:
    """Cut one page out of all results."""
    following = str(first + size) if len(items) > first + size else ""
    return Page(items=tuple(items[first : first + size]), next_page_token=following)


def folder_listing(files: Iterable[tuple[str, int | None]], path: str) -> tuple[FileInfo, ...]:
    """List what lies directly in a folder, by path, from all files' paths and sizes in bytes."""
    prefix = f"{path}/" if path else ""
    found: dict[str, FileInfo] = {}
    for name, size in files:
        if not name.startswith(prefix):
            continue
        first, _, rest = name[len(prefix) :].partition("/")
        full = prefix + first
        found[full] = FileInfo(path=full, is_dir=bool(rest), file_size=None if rest else size)
    return tuple(found[name] for name in sorted(found))
