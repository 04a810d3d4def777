"""The command with its commands, and what becomes of their errors."""

import contextlib
import io
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hokusai_core.cli.backends import backends
from hokusai_core.cli.database import database
from hokusai_core.cli.demo import demo
from hokusai_core.cli.doctor import doctor
from hokusai_core.cli.events import events
from hokusai_core.cli.output import print_error
from hokusai_core.cli.queue import queue
from hokusai_core.cli.status import status
from hokusai_core.cli.sync import sync
from hokusai_core.errors import HokusaiError

ERROR_EXIT = 2
"""Exit code where a command could not do its work: wrong settings, or no journal."""


class CommandGroup(TyperGroup):
    """Turns errors of this library into one line on stderr; any other is a defect and shows."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except HokusaiError as failure:
            print_error(failure)
            raise typer.Exit(ERROR_EXIT) from failure


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hokusai-tracking {version('hokusai-tracking')}")
        raise typer.Exit


application = typer.Typer(
    name="hokusai",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # it prints local variables, which may hold secrets
    rich_markup_mode=None,
    add_completion=False,
)
"""The command as typer knows it, for tests."""


@application.callback()
def hokusai(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Experiment tracking and model registration that keep working when MLflow does not.

    Settings come from HOKUSAI_* variables and MLFLOW_TRACKING_URI.
    """


application.command()(sync)
application.command()(status)
application.command()(doctor)
application.command()(backends)
application.command()(demo)
application.add_typer(queue, name="queue")
application.add_typer(events, name="events")
application.add_typer(database, name="db")


def main() -> None:
    """Run the command; the entry point ``hokusai``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The terminal's encoding may have no character for what a user named something. What cannot be
        # set so (a pipe that took the place of a file) is used as it is.
        with contextlib.suppress(OSError):
            sys.stdout.reconfigure(errors="backslashreplace")
    application(prog_name="hokusai")
