"""How commands print: plain text for people, widths and colours left to the terminal.

What is printed repeats names and messages that servers and users wrote. So all of it goes through
:func:`~hokusai_core.printable.printable`, and only what is printed as several lines has them.
"""

import re
import sys
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Span, Text

from hokusai_core.cli.droppable import droppable
from hokusai_core.printable import printable

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_NAME_WIDTH = 14
_WIDTH_WITHOUT_TERMINAL = 200
_NOT_ASCII = re.compile(r"[^\n -~]+")

GOOD = "bold green"
BAD = "bold red"
DOUBTFUL = "bold yellow"


class _Console(Console):
    """Prints each text as one line, without what would act on the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts and tables."""
        super().print(*(_cleaned(each) for each in objects), **options)


class _Table(Table):
    """Its cells hold nothing that would act on the terminal; only :func:`cell` makes lines."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of texts."""
        super().add_row(
            *(_cleaned(each, lines=isinstance(each, Text)) for each in cells), **options
        )


def _cleaned(shown: Any, *, lines: bool = False) -> Any:
    if isinstance(shown, str):
        return printable(shown, lines=lines)
    if not isinstance(shown, Text) or printable(shown.plain, lines=lines) == shown.plain:
        return shown
    lengths = (len(printable(character, lines=lines)) for character in shown.plain)
    at = [0, *accumulate(lengths)]
    spans = [Span(at[span.start], at[span.end], span.style) for span in shown.spans]
    return Text(printable(shown.plain, lines=lines), shown.style, spans=spans)


def console() -> Console:
    """Make a console that prints texts as they are, whatever brackets they hold.

    Each text is one line: what would act on the terminal in it is printed in its escaped form. Where
    nobody is watching (a pipe, a log), it is wide, so that tables fold as little as may be.
    """
    return _on(None)


def messages() -> Console:
    """Make a console on standard error for what is told beside the work, and is lost if need be.

    A full disk below a log, or a terminal that is gone, ends nothing that matters more.
    """
    return _on(droppable(sys.stderr))


def _on(file: TextIO | None) -> Console:
    made = _Console(file=file, markup=False, highlight=False, soft_wrap=True, emoji=False)
    if not made.is_terminal:
        made.width = max(made.width, _WIDTH_WITHOUT_TERMINAL)
    return made


def table(*columns: str, title: str | None = None) -> Table:
    """Make a table whose cells are cut nowhere; several lines in one are made by :func:`cell`."""
    made = _Table(
        title=title,
        title_justify="left",
        header_style="bold",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in columns:
        made.add_column(Text(column), overflow="fold")
    return made


def cell(*lines: Text | str) -> Text:
    """Make a table's cell of several lines, none of which can begin another; empty ones are left out."""
    return Text("\n").join(Text().append(_cleaned(line)) for line in lines if line)


def print_error(error: BaseException) -> None:
    """Print an error as one line on standard error."""
    typer.echo(printable(f"hokusai: {error}"), err=True)


def print_json(text: str, *, may_be_lost: bool = False) -> None:
    """Print JSON on standard output, in ASCII, which every terminal and every encoding takes.

    Args:
        text: The JSON.
        may_be_lost: Drop it where it cannot be written; else that is an error.
    """
    file = droppable(sys.stdout) if may_be_lost else None
    typer.echo(_NOT_ASCII.sub(_escaped, text), file=file)


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def print_facts(out: Console, rows: Sequence[tuple[str, Text | str]]) -> None:
    """Print a list of names and what is to be said of each."""
    for name, text in rows:
        out.print(Text.assemble((f"{name:{_NAME_WIDTH}}", "dim"), text))


def duration(seconds: float) -> str:
    """Give a length of time as a person says it: ``41 s``, ``12 min``, ``3 h 5 min``, ``2 d 1 h``."""
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 2 * _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def next_attempt(seconds: float) -> str:
    """Say when something is tried next: ``now``, ``in 5 s``."""
    return f"in {duration(seconds)}" if seconds > 0 else "now"
