"""``hokusai status``: how the primary and the journal are."""

import typer
from rich.console import Console

from hokusai_core.cli.options import AsJson, Backend, TrackingUri, command_settings
from hokusai_core.cli.output import console, duration
from hokusai_core.status import Status
from hokusai_core.status import status as ask_status

_NAME_WIDTH = 13


def status(
    tracking_uri: TrackingUri = None, backend: Backend = None, as_json: AsJson = False
) -> None:
    """Show whether the primary answers, what waits, and what is wrong.

    Exit code 0: healthy; 1: not; 2: wrong settings.
    """
    found = ask_status(command_settings(), tracking_uri=tracking_uri, backend=backend)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found, console())
    raise typer.Exit(0 if found.healthy else 1)


def _print(found: Status, out: Console) -> None:
    def line(name: str, text: str) -> None:
        out.print(f"{name:{_NAME_WIDTH}}{text}")

    line("primary", f"{found.backend} at {found.destination}")
    if found.reachable:
        version = f", version {found.version}" if found.version else ""
        line("", f"answers in {found.latency_ms:g} ms{version}")
    else:
        line("", "DOES NOT ANSWER (see below)")
    line("circuit", found.circuit.replace("_", " "))
    if found.journal_reachable is None:
        line("journal", "none: an outage raises errors (HOKUSAI_FALLBACK)")
    else:
        line("journal", found.journal)
        if not found.journal_reachable:
            line("", "DOES NOT ANSWER (see below)")
        line("waiting", _waiting(found))
        line("spool", f"{found.spool_waiting} operations")
        line("dead letters", str(found.dead))
    for name, count in sorted(found.others.items()):
        line("elsewhere", f"{count} operations wait for {name}")
    unusable = [plugin for plugin in found.plugins if plugin.state != "ready"]
    usable = [plugin.name for plugin in found.plugins if plugin.state == "ready"]
    line("backends", ", ".join(usable) or "none")
    for plugin in unusable:
        line("", f"{plugin.name}: {plugin.state}")
    if found.streams:
        _print_streams(found, out)
    for letter in found.dead_letters:
        out.print(f"  dead: {letter.kind} {letter.op_id} of {letter.stream}: {letter.error}")
    if found.dead > len(found.dead_letters):
        out.print(f"  and {found.dead - len(found.dead_letters)} more dead letters")
    out.print()
    for problem in found.problems:
        out.print(f"PROBLEM: {problem}")
    if found.healthy:
        out.print("Healthy.")


def _waiting(found: Status) -> str:
    text = f"{found.waiting} operations"
    if found.oldest_seconds is not None:
        text += f", the oldest for {duration(found.oldest_seconds)}"
    return text


def _print_streams(found: Status, out: Console) -> None:
    out.print()
    for stream in found.streams:
        due = stream.due_in_seconds
        out.print(
            f"  {stream.stream} ({stream.place}): {stream.waiting} operations, the oldest for "
            f"{duration(stream.oldest_seconds)}, next attempt "
            f"{f'in {duration(due)}' if due > 0 else 'now'}: {stream.reason}"
        )
