"""``hokusai backends``: the plugins that are installed."""

import dataclasses
import json
from typing import Annotated

import typer

from hokusai_core.backends import installed_backends
from hokusai_core.cli.options import AsJson
from hokusai_core.cli.output import console, print_json, table


def backends(
    check: Annotated[
        bool, typer.Option("--check", help="Open each one, so that its hooks are checked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the installed backends, broken ones with what is wrong with them."""
    found = installed_backends(check=check)
    if as_json:
        print_json(json.dumps([dataclasses.asdict(backend) for backend in found], indent=2))
        return
    shown = table("name", "distribution", "version", "capabilities", "state")
    for backend in found:
        shown.add_row(
            backend.name,
            backend.distribution,
            backend.version,
            ", ".join(backend.capabilities),
            backend.state,
        )
    console().print(shown)
