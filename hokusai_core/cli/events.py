"""``hokusai events``: the events of tokenized registrations, and sending them again."""

import json
import threading
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from hokusai_core.cli.options import (
    AsJson,
    Backend,
    TrackingUri,
    Wait,
    command_settings,
    open_runtime,
)
from hokusai_core.cli.output import BAD, GOOD, cell, console, print_error, print_json, table
from hokusai_core.errors import BackendError, InvalidInputError, RegistryException
from hokusai_core.queue import SyncQueue
from hokusai_core.registration_events import RegistrationEvent, RegistrationEventState
from hokusai_core.registry import ModelRegistry
from hokusai_core.runtime import Runtime

events = typer.Typer(help="Registration events: look, send again.", no_args_is_help=True)
"""The commands below ``hokusai events``."""

_NOT_DELIVERED: tuple[RegistrationEventState, ...] = ("pending", "failed")


@events.callback()
def about() -> None:
    """Look at the events of tokenized registrations, and send again what was not delivered.

    Exit code 0: all are delivered; 1: some are not; 2: wrong settings, or no journal.
    """


@events.command("list")
def list_events(
    everything: Annotated[
        bool, typer.Option("--all", help="Delivered and discarded ones, too.")
    ] = False,
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
    as_json: AsJson = False,
) -> None:
    """List the events that are not delivered, in the order of their registrations."""
    with open_runtime(tracking_uri, backend) as runtime:
        states = () if everything else _NOT_DELIVERED
        found = runtime.registration_events.all(*states, whole=True)
    _print(found, as_json=as_json)
    raise typer.Exit(_exit_code(found))


@events.command()
def send(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME/VERSION",
            help="Send the event of this version, made anew from the registry.",
        ),
    ] = None,
    wait: Wait = 10.0,
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
    as_json: AsJson = False,
) -> None:
    """Send what was not delivered, refused events too; or the event of one version.

    Where events were kept, all else that waits is delivered as well, as by `hokusai sync`. The
    endpoint recognises by the Idempotency-Key what it has had before.
    """
    if model is not None:
        found: Sequence[RegistrationEvent] = (_send_one(model, wait, tracking_uri, backend),)
    else:
        found = _send_all(wait, tracking_uri, backend)
    _print(found, as_json=as_json)
    raise typer.Exit(_exit_code(found))


def _send_all(
    wait: float, tracking_uri: str | None, backend: str | None
) -> tuple[RegistrationEvent, ...]:
    with open_runtime(tracking_uri, backend) as runtime:
        kept = runtime.registration_events.all(*_NOT_DELIVERED, whole=True)
        return _send_kept(kept, runtime, wait, tracking_uri, backend)


def _send_one(
    model: str, wait: float, tracking_uri: str | None, backend: str | None
) -> RegistrationEvent:
    name, separator, number = model.rpartition("/")
    try:
        if not separator:
            raise InvalidInputError(f"{model!r} is no NAME/VERSION, such as scoring/3.")
        registry = ModelRegistry(tracking_uri, backend=backend, settings=command_settings())
        with open_runtime(tracking_uri, backend) as runtime:
            known = runtime.registration_events.of(registry.get_model_version(name, number))
            if known.state in _NOT_DELIVERED:
                return _send_kept((known,), runtime, wait, tracking_uri, backend)[0]
            return registry.send_registration_event(name, number)
    except (InvalidInputError, RegistryException, BackendError) as refusal:
        print_error(refusal)
        raise typer.Exit(1) from refusal


def _send_kept(
    kept: Sequence[RegistrationEvent],
    runtime: Runtime,
    wait: float,
    tracking_uri: str | None,
    backend: str | None,
) -> tuple[RegistrationEvent, ...]:
    """Let refused events wait again, deliver what waits, and look what became of the events."""
    if refused := [event.op_id for event in kept if event.state == "failed"]:
        queue = SyncQueue(command_settings(), tracking_uri=tracking_uri, backend=backend)
        queue.retry(refused)
    if kept:
        runtime.drain().run(wait_seconds=wait, stop=threading.Event())
    now = {event.op_id: event for event in runtime.registration_events.all(whole=True)}
    return tuple(now.get(event.op_id, event) for event in kept)


def _exit_code(found: Sequence[RegistrationEvent]) -> int:
    return int(any(event.state in (*_NOT_DELIVERED, "off") for event in found))


def _print(found: Sequence[RegistrationEvent], *, as_json: bool) -> None:
    if as_json:
        print_json(json.dumps([event.model_dump(mode="json") for event in found], indent=2))
        return
    out = console()
    if not found:
        out.print("No event waits, and none was refused.")
        return
    shown = table("model", "token", "state and reason")
    shown.show_lines = True
    for event in found:
        style = GOOD if event.state == "delivered" else BAD
        shown.add_row(
            cell(f"{event.name} version {event.version}", event.op_id),
            event.token_id,
            cell(Text(event.state, style), event.error),
        )
    out.print(shown)
