"""The table of the documentation, and where it goes."""

import os
import platform
from pathlib import Path

from tests.benchmarks.harness import Figure

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


_HEAD = "| what | Hokusai | beside it, in the same run | to reach | |\n|---|---|---|---|---|"


def row(one: Figure) -> str:
    """Give a figure as a row of the table."""
    reached = "reached" if one.reached else "missed"
    return f"| {one.what} | {one.ours} | {one.peer} | {one.target} | {reached} |"


def machine() -> str:
    """Describe the machine, without its name."""
    return f"{os.cpu_count()} cores, Linux, Python {platform.python_version()}"


def write(figures: list[Figure], *, everything: bool) -> None:
    """Put the figures into the page, between its marks.

    Args:
        figures: What was measured.
        everything: Whether that is the whole table; else the rows of the same things are replaced.
    """
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    old, _, after = rest.partition(_END)
    rows = {} if everything else {_what(line): line for line in old.splitlines() if "|" in line}
    rows |= {one.what: row(one) for one in figures}
    lines = [line for what, line in rows.items() if what not in ("what", "---")]
    block = "\n".join([_BEGIN, _HEAD, *lines, "", f"Measured on {machine()}.", _END])
    PAGE.write_text(f"{before}{block}{after}")


def _what(line: str) -> str:
    return line.split("|")[1].strip()
