"""How commands print: plain text for people, widths and colours left to the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def console(*, stderr: bool = False) -> Console:
    """Make a console that prints texts as they are, whatever brackets they hold."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True, emoji=False)


def table(*columns: str, title: str | None = None) -> Table:
    """Make a table whose cells are cut nowhere."""
    made = Table(title=title, title_justify="left", header_style="bold", title_style="bold")
    for column in columns:
        made.add_column(Text(column), overflow="fold")
    return made


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
