"""Reads the code blocks of the documentation, with what the pages say of them.

A comment before a block tells what is particular to it: ``<!-- not run: reason -->``, or
``<!-- file: name.py -->`` for a script of its own.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)

SERVER_PLACEHOLDER = "http://127.0.0.1:5000"
"""Stands for the address of a running MLflow server."""
DATABASE_PLACEHOLDER = "postgresql+psycopg://user:password@db.example/hokusai"
"""Stands for the address of a running PostgreSQL database."""

_FENCE = re.compile(r"^```(?P<language>\w*)\s*$")
_MARK = re.compile(r"^<!--\s*(?P<name>not run|file):\s*(?P<value>.+?)\s*-->\s*$")
_EXPORT = re.compile(r"^export (?P<name>\w+)=(?P<value>\S+)$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the number of its first line, its lines, and its mark."""

    language: str
    first_line: int
    lines: tuple[str, ...]
    not_run: str = ""
    file: str = ""


def name_of(page: Path) -> str:
    """Give a page's path inside the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Give all fenced blocks of a page, in order."""
    blocks: list[Block] = []
    mark: dict[str, str] = {}
    language: str | None = None
    first_line, lines = 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, first_line, lines = fence["language"], number + 1, []
        elif language is not None and line.rstrip() == "```":
            blocks.append(
                Block(
                    language,
                    first_line,
                    tuple(lines),
                    not_run=mark.get("not run", ""),
                    file=mark.get("file", ""),
                )
            )
            language, mark = None, {}
        elif language is not None:
            lines.append(line)
        elif found := _MARK.match(line):
            mark[found["name"]] = found["value"]
        elif line.strip():
            mark = {}
    assert language is None, f"{name_of(page)}: the block at line {first_line} has no end"
    return blocks


def script_of(page: Path) -> str:
    """Give the page's Python blocks as one script, each line with the number that it has there."""
    script: list[str] = []
    for block in blocks_of(page):
        if block.language != "python" or block.not_run or block.file:
            continue
        script += [""] * (block.first_line - 1 - len(script))
        script += block.lines
    return "\n".join(script) + "\n" if script else ""


def files_of(page: Path) -> dict[str, str]:
    """Give the scripts that the page asks its reader to save, by name."""
    return {block.file: "\n".join(block.lines) + "\n" for block in blocks_of(page) if block.file}


def exports_of(page: Path) -> dict[str, str]:
    """Give the variables that the page's shell blocks set."""
    return {
        found["name"]: found["value"]
        for block in blocks_of(page)
        if block.language == "bash" and not block.not_run
        for line in block.lines
        if (found := _EXPORT.match(line))
    }


def commands_of(page: Path) -> list[str]:
    """Give the commands of a page's shell blocks, one for each line or part joined by ``&&``."""
    return [
        command.strip()
        for block in blocks_of(page)
        if block.language in ("bash", "console")
        for line in block.lines
        for command in line.removeprefix("$ ").split("&&")
        if command.strip()
    ]
