"""``hokusai queue``: what waits and what was refused, and what a person decides about it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from hokusai_core.cli.options import AsJson, Backend, TrackingUri, command_settings
from hokusai_core.cli.output import (
    BAD,
    cell,
    console,
    duration,
    next_attempt,
    print_error,
    print_facts,
    print_json,
    table,
)
from hokusai_core.errors import (
    InvalidInputError,
    JournalBusyError,
    NotFoundError,
    StillNeededError,
)
from hokusai_core.journal import EntryState
from hokusai_core.queue import ALL_STATES, QueueDetails, QueueEntry, SyncQueue
from hokusai_core.status import counted

queue = typer.Typer(help="Look at what waits and what was refused; decide.", no_args_is_help=True)
"""The commands below ``hokusai queue``."""

_DEPENDENTS_LISTED = 20

Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, it is only shown.")]
OpIds = Annotated[list[str], typer.Argument(metavar="OP_ID...", help="Ids of operations.")]


@queue.callback()
def about() -> None:
    """Look at what waits for the primary and at what it refused; retry, discard, move.

    Exit code 0: done; 1: not, nothing was changed; 2: wrong settings, or no journal.
    """


@queue.command("list")
def list_entries(
    dead: Annotated[
        bool, typer.Option("--dead", help="What was refused for good (the default).")
    ] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="What waits.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All that the journal knows, delivered or not.")
    ] = False,
    stream: Annotated[str, typer.Option(help="Of this stream only.")] = "",
    destination: Annotated[str, typer.Option(help="For this primary only.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most that are listed.")] = 100,
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
    as_json: AsJson = False,
) -> None:
    """List operations in the order of their queueing, with their reasons."""
    states = _states(dead=dead, waiting=waiting, everything=everything)
    opened = SyncQueue(command_settings(), tracking_uri=tracking_uri, backend=backend)
    found = opened.entries(states, stream=stream, destination=destination, limit=limit)
    if as_json:
        print_json(json.dumps([entry.model_dump(mode="json") for entry in found], indent=2))
        return
    out = console()
    if not found:
        out.print(f"Nothing is {' or '.join(states)}.")
        return
    _print_entries(found, opened.destination, out)
    if len(found) == limit:
        out.print(f"These are the first {limit}; --limit shows more.")


@queue.command()
def show(
    op_id: Annotated[str, typer.Argument(metavar="OP_ID", help="Id of the operation.")],
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
    as_json: AsJson = False,
) -> None:
    """Show one operation: its payload, its reason, and what depends on it."""
    opened = SyncQueue(command_settings(), tracking_uri=tracking_uri, backend=backend)
    with _refusals():
        found = opened.show(op_id)
    if as_json:
        print_json(found.model_dump_json(indent=2))
    else:
        _print_details(found, console())


@queue.command()
def retry(
    op_ids: Annotated[
        list[str] | None, typer.Argument(metavar="OP_ID...", help="Ids of dead letters.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    stream: Annotated[str, typer.Option(help="With --all: of this stream only.")] = "",
    destination: Annotated[str, typer.Option(help="With --all: for this primary only.")] = "",
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
) -> None:
    """Let dead letters wait again, in their old places, after their cause was mended."""
    opened = SyncQueue(command_settings(), tracking_uri=tracking_uri, backend=backend)
    with _refusals():
        if everything == bool(op_ids):
            raise InvalidInputError("Name the operations to retry, or give --all.")
        if everything:
            count = opened.retry_all(stream=stream, destination=destination)
        else:
            count = opened.retry(op_ids or ())
    console().print(f"{counted(count, 'operation')} waiting again. `hokusai sync` delivers.")


@queue.command()
def discard(
    op_ids: OpIds,
    yes: Yes = False,
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
) -> None:
    """Give up operations that are dead or waiting.

    Where others cannot be delivered without them, these are listed, and --yes discards all.
    """
    opened = SyncQueue(command_settings(), tracking_uri=tracking_uri, backend=backend)
    with _refusals():
        try:
            count = opened.discard(op_ids, force=yes)
        except StillNeededError as refusal:
            _print_needed(refusal.op_ids, opened)
            raise typer.Exit(1) from refusal
    console().print(f"Discarded {counted(count, 'operation')}.")


@queue.command()
def move(
    source: Annotated[
        str, typer.Option("--from", metavar="DESTINATION", help="The old one.", show_default=False)
    ],
    target: Annotated[
        str,
        typer.Option("--to", metavar="DESTINATION", help="The new one; by default the configured."),
    ] = "",
    yes: Yes = False,
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
) -> None:
    """Give all that waits for one server's old address to its new one.

    Destinations are written as `hokusai status` shows them, or as addresses. Stop jobs and workers of
    the old one first.
    """
    opened = SyncQueue(command_settings(), tracking_uri=tracking_uri, backend=backend)
    out = console()
    with _refusals():
        planned = opened.planned_move(source, target)
        old, new = planned.source, planned.target
        count = opened.move(source, target) if yes else 0
    if not yes:
        waiting = opened.waiting()
        out.print(f"Waiting for {old}: {counted(waiting.get(old, 0), 'operation')}.")
        for name, number in sorted(waiting.items()):
            if name != old:
                out.print(f"Waiting for {name}: {counted(number, 'operation')}.")
    if not planned.target_known:
        out.print(
            f"The settings mean {opened.destination}, and the journal knows nothing of {new}: what is "
            "moved there waits until a job or worker of that destination comes."
        )
    if not yes:
        out.print(f"Nothing was changed. With --yes, all of {old} goes to {new}.")
        raise typer.Exit(1)
    out.print(f"Entries moved from {old} to {new}: {count}.")


def _states(*, dead: bool, waiting: bool, everything: bool) -> tuple[EntryState, ...]:
    if everything:
        return ALL_STATES
    chosen: list[EntryState] = []
    if dead or not waiting:
        chosen.append("dead")
    if waiting:
        chosen.append("waiting")
    return tuple(chosen)


@contextmanager
def _refusals() -> Iterator[None]:
    """Let what cannot be done end with exit code 1 and one line."""
    try:
        yield
    except (InvalidInputError, NotFoundError, JournalBusyError) as refusal:
        print_error(refusal)
        raise typer.Exit(1) from refusal


def _print_entries(found: Sequence[QueueEntry], own: str, out: Console) -> None:
    """Print a table that is readable on a narrow terminal: several lines for each operation."""
    shown = table("operation", "queued", "stream and reason")
    shown.show_lines = True
    shown.columns[0].no_wrap = True
    shown.columns[1].no_wrap = True
    for entry in found:
        where = [
            entry.stream,
            *([f"for {entry.destination}"] if entry.destination != own else []),
            *(["in the spool of this machine"] if entry.place == "spool" else []),
        ]
        shown.add_row(
            cell(
                entry.op_id,
                Text.assemble(
                    f"{entry.kind}, ", (entry.state, BAD if entry.state == "dead" else "")
                ),
            ),
            cell(
                f"{duration(entry.age_seconds)} ago",
                counted(entry.attempts, "attempt"),
                _next_attempt(entry),
            ),
            cell(*(Text(line, "bold") for line in where), entry.reason),
        )
    out.print(shown)


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _next_attempt(entry: QueueEntry) -> str:
    due = entry.next_attempt_seconds
    return "" if due is None else f"next attempt {next_attempt(due)}"


def _print_details(found: QueueDetails, out: Console) -> None:
    lines = {
        "operation": found.op_id,
        "kind": found.kind,
        "state": found.state,
        "place": found.place,
        "stream": found.stream,
        "destination": found.destination,
        "queued": f"{duration(found.age_seconds)} ago",
        "attempts": _joined(str(found.attempts), _next_attempt(found)),
        "reason": found.reason,
        "applied": "perhaps, by an earlier attempt" if found.maybe_applied else "",
        "primary id": found.primary_id,
    }
    print_facts(out, [(name, text) for name, text in lines.items() if text])
    out.print()
    if found.payload is None:
        out.print("The payload is of a newer release; upgrade hokusai-tracking to see it.")
    else:
        for line in json.dumps(found.payload, indent=2, ensure_ascii=False).split("\n"):
            out.print(line)
    if found.dependents:
        out.print()
        out.print(f"Cannot be delivered without it: {counted(len(found.dependents), 'operation')}.")
        _print_entries(found.dependents[:_DEPENDENTS_LISTED], found.destination, out)
        if len(found.dependents) > _DEPENDENTS_LISTED:
            out.print(f"These are the first {_DEPENDENTS_LISTED}; --json shows all.")


def _print_needed(op_ids: Sequence[str], opened: SyncQueue) -> None:
    out = console()
    out.print(
        f"Cannot be delivered without what should be discarded: "
        f"{counted(len(op_ids), 'operation')}."
    )
    for op_id in op_ids[:_DEPENDENTS_LISTED]:
        entry = opened.show(op_id)
        out.print(f"  {entry.op_id} {entry.kind} of {entry.stream}")
    if len(op_ids) > _DEPENDENTS_LISTED:
        out.print(f"  and {len(op_ids) - _DEPENDENTS_LISTED} more")
    out.print("Nothing was changed. With --yes, they are discarded, too.")
