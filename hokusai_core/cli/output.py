"""How commands print: plain text for people, widths and colours left to the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_NAME_WIDTH = 14
_WIDTH_WITHOUT_TERMINAL = 200

GOOD = "bold green"
BAD = "bold red"
DOUBTFUL = "bold yellow"


def console(*, stderr: bool = False) -> Console:
    """Make a console that prints texts as they are, whatever brackets they hold.

    Where nobody is watching (a pipe, a log), it is wide, so that tables fold as little as may be.
    """
    made = Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True, emoji=False)
    if not made.is_terminal:
        made.width = max(made.width, _WIDTH_WITHOUT_TERMINAL)
    return made


def table(*columns: str, title: str | None = None) -> Table:
    """Make a table whose cells are cut nowhere."""
    made = Table(
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
