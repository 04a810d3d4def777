"""``hokusai status``: how the primary and the journal are."""

import typer
from rich.console import Console
from rich.text import Text

from hokusai_core.cli.options import AsJson, Backend, Timeout, TrackingUri, command_settings
from hokusai_core.cli.output import (
    BAD,
    DOUBTFUL,
    GOOD,
    cell,
    console,
    duration,
    next_attempt,
    print_facts,
    print_json,
    table,
)
from hokusai_core.status import Status, counted
from hokusai_core.status import status as ask_status

_LISTED_STREAMS = 10


def status(
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Show whether the primary answers, what waits, and what is wrong.

    Exit code 0: healthy; 1: not; 2: wrong settings.
    """
    settings = command_settings()
    found = ask_status(settings, tracking_uri=tracking_uri, backend=backend, timeout=timeout)
    if as_json:
        print_json(found.model_dump_json(indent=2))
    else:
        _print(found, console())
    raise typer.Exit(0 if found.healthy else 1)


def _print(found: Status, out: Console) -> None:
    """Print the verdict first, then what it rests on."""
    if found.healthy:
        out.print(Text("Healthy.", GOOD))
    else:
        out.print(Text("NOT HEALTHY", BAD))
        for problem in found.problems:
            out.print(Text.assemble(("PROBLEM: ", BAD), problem))
    out.print()
    print_facts(out, _facts(found))
    if found.streams:
        _print_streams(found, out)
    if found.dead_letters:
        _print_dead_letters(found, out)


def _facts(found: Status) -> list[tuple[str, Text | str]]:
    rows: list[tuple[str, Text | str]] = [
        ("primary", f"{found.backend} at {found.destination}"),
        ("", _answer(found)),
    ]
    if found.note:
        rows.append(("", Text(found.note, DOUBTFUL)))
    rows.append(("circuit", found.circuit.replace("_", " ")))
    if found.journal_reachable is None:
        rows.append(("journal", "none: an outage raises errors (HOKUSAI_FALLBACK)"))
    else:
        rows.append(("journal", found.journal))
        if not found.journal_reachable:
            rows.append(("", Text("DOES NOT ANSWER (see above)", BAD)))
        rows.append(("waiting", _waiting(found)))
        rows.append(("spool", _count(found.spool_waiting)))
        dead = "unknown" if found.dead is None else str(found.dead)
        rows.append(("dead letters", Text(dead, BAD if found.dead else "")))
    rows += [
        ("elsewhere", f"{counted(count, 'operation')} for {name}")
        for name, count in sorted(found.others.items())
    ]
    rows += _followers(found)
    usable = [plugin.name for plugin in found.plugins if plugin.state == "ready"]
    rows.append(("backends", ", ".join(usable) or "none"))
    rows += [
        ("", f"{plugin.name}: {plugin.state}")
        for plugin in found.plugins
        if plugin.state != "ready"
    ]
    return rows


def _followers(found: Status) -> list[tuple[str, Text | str]]:
    """Give a line for the registration events, and one for each observer."""
    rows: list[tuple[str, Text | str]] = []
    if found.events_endpoint or found.registration_events:
        open_events = len(found.registration_events)
        told = f"{counted(open_events, 'event')} not delivered" if open_events else "all delivered"
        where = found.events_endpoint or "HOKUSAI_EVENTS_ENDPOINT is not set here"
        rows.append(("events", Text(f"{told} ({where})", BAD if open_events else "")))
        rows += [
            ("", f"{event.name} {event.version}: {event.state}. {event.error}".rstrip())
            for event in found.registration_events
        ]
    for observer in found.observers:
        text = f"{observer.name} ({observer.origin}): {observer.state} {observer.error}".rstrip()
        good = observer.state in ("ready", "not loaded")
        rows.append(("observer", Text(text, "" if good else BAD)))
    return rows


def _answer(found: Status) -> Text:
    if not found.reachable:
        return Text("REFUSES (see above)" if found.refused else "DOES NOT ANSWER (see above)", BAD)
    version = f", version {found.version}" if found.version else ""
    return Text(f"answers in {found.latency_ms:g} ms{version}", GOOD)


def _waiting(found: Status) -> str:
    text = _count(found.waiting)
    if found.waiting and found.oldest_seconds is not None:
        text += f", the oldest for {duration(found.oldest_seconds)}"
    return text


def _count(waiting: int | None) -> str:
    if waiting is None:
        return "unknown while it does not answer"
    return counted(waiting, "operation") if waiting else "nothing"


def _print_streams(found: Status, out: Console) -> None:
    out.print()
    shown = table("waiting", "since", "next try", "stream and reason", title="What waits")
    shown.show_lines = True
    for stream in found.streams[:_LISTED_STREAMS]:
        name = stream.stream if stream.place == "journal" else f"{stream.stream} (spool)"
        shown.add_row(
            str(stream.waiting),
            duration(stream.oldest_seconds),
            next_attempt(stream.due_in_seconds),
            cell(Text(name, BAD if stream.stuck else "bold"), stream.reason),
        )
    out.print(shown)
    if (more := len(found.streams) - _LISTED_STREAMS) > 0:
        out.print(f"At least {more} more; --json and `hokusai queue list --waiting` list them.")


def _print_dead_letters(found: Status, out: Console) -> None:
    out.print()
    shown = table("operation", "stream and reason", title="Dead letters")
    shown.show_lines = True
    shown.columns[0].no_wrap = True
    for letter in found.dead_letters:
        shown.add_row(
            cell(letter.op_id, letter.kind),
            cell(Text(letter.stream, "bold"), letter.error),
        )
    out.print(shown)
    if (found.dead or 0) > len(found.dead_letters):
        out.print(
            f"and {(found.dead or 0) - len(found.dead_letters)} more: see `hokusai queue list`."
        )
