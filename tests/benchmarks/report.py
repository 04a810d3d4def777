"""The table of the documentation, and where it goes."""

import os
import platform
import re
from pathlib import Path

from tests.benchmarks.harness import Figure

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


def table(figures: list[Figure]) -> str:
    """Give the figures as a table."""
    lines = [
        "| what | Hokusai | beside it, in the same run | to reach | |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.what} | {one.ours} | {one.peer} | {one.target} | "
        f"{'reached' if one.reached else 'missed'} |"
        for one in figures
    ]
    return "\n".join(lines)


def machine() -> str:
    """Describe the machine, without its name."""
    return f"{os.cpu_count()} cores, Linux, Python {platform.python_version()}"


def write(figures: list[Figure]) -> None:
    """Put the table into the page, between its marks."""
    page = PAGE.read_text()
    block = f"{_BEGIN}\n{table(figures)}\n\nMeasured on {machine()}.\n{_END}"
    marked = re.compile(re.escape(_BEGIN) + ".*" + re.escape(_END), re.DOTALL)
    PAGE.write_text(marked.sub(lambda _: block, page))
