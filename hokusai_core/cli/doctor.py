"""``hokusai doctor``: what is wrong with a set-up, and what to do."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from hokusai_core.cli.options import AsJson, Backend, TrackingUri
from hokusai_core.cli.output import BAD, DOUBTFUL, GOOD, console, print_json
from hokusai_core.doctor import doctor as examine
from hokusai_core.findings import Finding, FindingState

_SIGNS: dict[FindingState, tuple[str, str]] = {
    "ok": ("ok", GOOD),
    "warning": ("warning", DOUBTFUL),
    "failed": ("FAILED", BAD),
}
_SIGN_WIDTH = 9
_NAME_WIDTH = 13


def doctor(
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Write a small run, too; it stays in 'hokusai_doctor'."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine settings, credentials, folders, databases and servers: one line each.

    Exit code 0: nothing failed; 1: something did.
    """
    found = examine(tracking_uri=tracking_uri, backend=backend, write=write)
    if as_json:
        print_json(found.model_dump_json(indent=2))
    else:
        out = console()
        for finding in found.findings:
            _print(finding, out)
    raise typer.Exit(0 if found.sound else 1)


def _print(finding: Finding, out: Console) -> None:
    sign, style = _SIGNS[finding.state]
    line = Text.assemble(
        (f"{sign:{_SIGN_WIDTH}}", style), (f"{finding.name:{_NAME_WIDTH}}", "dim"), finding.text
    )
    if finding.advice:
        line.append(f" {finding.advice}", "bold")
    out.print(line)
