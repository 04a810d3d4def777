"""Health and backlog of one destination as one value, to be printed or read by a program."""

import importlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import computed_field

from hokusai_core.backends import InstalledBackend, OpenBackend, installed_backends
from hokusai_core.circuit_breaker import CircuitState
from hokusai_core.clock import Deadline, SystemClock
from hokusai_core.entities import BackendHealth
from hokusai_core.errors import BackendBrokenError, BackendError, JournalUnavailableError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Backlog, EntryQuery, QueuedOperation
from hokusai_core.operations import Value
from hokusai_core.queries import ModelQuery
from hokusai_core.resolution import select_backends, settings_with, sort_arguments
from hokusai_core.runtime import Runtime
from hokusai_core.settings import Settings

STUCK_SECONDS = 300.0
"""A stream that has failed, or was due and left alone, for so long is reported as stuck."""

_LISTED_DEAD_LETTERS = 20

Place = Literal["journal", "spool"]


class StreamStatus(Value):
    """What waits in one stream.

    ``oldest_seconds`` is the age of its first operation; ``due_in_seconds`` is when it is tried
    next, negative where it has been due for so long already. ``error`` and ``waiting_for`` say why
    it was held; "" where it was not.
    """

    stream: str
    place: Place
    waiting: int
    oldest_seconds: float
    due_in_seconds: float
    error: str = ""
    waiting_for: str = ""

    @property
    def reason(self) -> str:
        """Why it waits, in words."""
        if self.error:
            return self.error
        return f"waiting for {self.waiting_for}" if self.waiting_for else "not delivered yet"

    @property
    def stuck(self) -> bool:
        """Whether it has been failing, or lying about, for longer than a passing trouble lasts."""
        held = bool(self.error or self.waiting_for) and self.oldest_seconds > STUCK_SECONDS
        return held or -self.due_in_seconds > STUCK_SECONDS


class DeadLetter(Value):
    """A record that a primary refused for good: what it was, and why. Its payload is kept."""

    op_id: str
    kind: str
    stream: str
    destination: str
    place: Place
    error: str


class Status(Value):
    """How a primary and its journal are; no field holds credentials.

    ``latency_ms`` is in milliseconds, None where the primary did not answer. ``journal_reachable``
    is None where there is no fallback. ``waiting`` counts this destination's operations in the
    journal, ``spool_waiting`` those in the spool, ``others`` those of other destinations;
    ``dead`` counts the dead letters of the whole journal. ``oldest_seconds`` is the age of the
    oldest operation that waits here. At most 100 streams and 20 dead letters are listed for each
    place.
    """

    backend: str
    destination: str
    reachable: bool
    latency_ms: float | None = None
    description: str = ""
    version: str = ""
    unreachable_because: str = ""
    circuit: CircuitState
    journal: str = ""
    journal_reachable: bool | None = None
    journal_unreachable_because: str = ""
    waiting: int = 0
    dead: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()
    oldest_seconds: float | None = None
    streams: tuple[StreamStatus, ...] = ()
    spool_waiting: int = 0
    others: dict[str, int] = {}
    plugins: tuple[InstalledBackend, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, each with what to do; () where all is well."""
        found: list[str] = []
        if not self.reachable:
            found.append(
                f"{self.backend} at {self.destination} does not answer: {self.unreachable_because}"
            )
        if self.journal_reachable is False:
            found.append(f"The journal is away: {self.journal_unreachable_because}")
        if self.dead:
            found.append(
                f"{self.dead} dead letters: records that the primary refused for good. They are "
                "kept in the journal, and are not tried again by themselves: see `hokusai queue "
                "list`, then retry or discard them."
            )
        if stuck := [stream for stream in self.streams if stream.stuck]:
            found.append(
                f"{len(stuck)} streams are stuck (the first: {stuck[0].stream}, "
                f"{stuck[0].reason}). Run `hokusai sync` to try them now."
            )
        return tuple(found)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def healthy(self) -> bool:
        """Whether the primary answers, and nothing is dead, stuck or out of reach."""
        return not self.problems


def status(
    settings: Settings | None = None,
    *,
    tracking_uri: str | None = None,
    backend: object = None,
) -> Status:
    """Ask a primary and its journal how they are. Writes nothing.

    Bounded in time: the primary is asked within ``write_timeout`` (and not at all while its circuit
    is open in this process), the journal within ``journal_timeout``.

    Args:
        settings: All settings; not given, they are read from the environment.
        tracking_uri: Address of the tracking server; not given, settings decide.
        backend: Name of the backend, its plugin, or a mock backend; not given, settings decide.

    Raises:
        ConfigurationError: An argument or setting is wrong, or the backend cannot be used.
    """
    given = sort_arguments(None, tracking_uri, None, None)
    selection = select_backends(
        settings=settings_with(settings), tracking_uri=given.tracking_uri, backend=backend
    )
    runtime = Runtime.shared(selection)
    return Status.model_validate(_primary(runtime) | _journal(runtime)).model_copy(
        update={"plugins": installed_backends()}
    )


def _primary(runtime: Runtime) -> dict[str, object]:
    primary = runtime.primary.get()
    _load_driver(primary)
    figures: dict[str, object] = {"backend": primary.name, "destination": runtime.destination}
    try:
        runtime.sources.ask(lambda backend: _check(backend, runtime))
        began = time.perf_counter()
        health = runtime.sources.ask(lambda backend: _check(backend, runtime))
    except BackendError as failure:
        figures |= {"reachable": False, "unreachable_because": str(failure)}
    else:
        figures |= {
            "reachable": True,
            "latency_ms": round((time.perf_counter() - began) * 1000, 1),
            "description": health.description,
            "version": health.version,
        }
    return figures | {"circuit": runtime.circuits.primary.state}


def _load_driver(backend: OpenBackend) -> None:
    """Import what the plugin needs beforehand: those seconds are not the server's."""
    for module in backend.plugin.requires:
        try:
            importlib.import_module(module)
        except ImportError as cause:
            raise BackendBrokenError(
                f"Backend {backend.name!r} failed to import {module}: {cause}. Reinstall it."
            ) from cause


def _check(backend: OpenBackend, runtime: Runtime) -> BackendHealth:
    deadline = Deadline(runtime.settings.write_timeout, SystemClock())
    if backend.can("tracking"):
        return backend.tracking.tracking_check(deadline)
    backend.registry.registry_search_registered_models(ModelQuery(max_results=1), deadline)
    return BackendHealth(description=f"Registry {backend.name} at {runtime.destination}")


def _journal(runtime: Runtime) -> dict[str, object]:
    fallback = runtime.fallback
    if fallback is None:
        return {}
    figures: dict[str, object] = {"journal": runtime.journal_description}
    seen: list[_Seen] = []
    try:
        seen.append(_look(fallback.journal, "journal", runtime.destination))
        figures["journal_reachable"] = True
    except JournalUnavailableError as failure:
        figures |= {"journal_reachable": False, "journal_unreachable_because": str(failure)}
    try:
        if spool := fallback.spool:
            seen.append(_look(spool, "spool", runtime.destination))
    except JournalUnavailableError as failure:
        figures |= {
            "journal_reachable": False,
            "journal_unreachable_because": f"the spool: {failure}",
        }
    waiting = {each.place: each.backlog.by_destination.get(runtime.destination, 0) for each in seen}
    streams = tuple(stream for each in seen for stream in _streams(each))
    return figures | {
        "waiting": waiting.get("journal", 0),
        "spool_waiting": waiting.get("spool", 0),
        "dead": sum(each.backlog.dead for each in seen),
        "dead_letters": tuple(letter for each in seen for letter in each.dead_letters),
        "oldest_seconds": max((stream.oldest_seconds for stream in streams), default=None),
        "streams": streams,
        "others": _others(seen, runtime.destination),
    }


@dataclass(frozen=True)
class _Seen:
    """What one journal told."""

    place: Place
    backlog: Backlog
    dead_letters: tuple[DeadLetter, ...]


def _look(journal: Journal, place: Place, destination: str) -> _Seen:
    backlog = journal.journal_backlog(destination)
    dead: tuple[QueuedOperation, ...] = ()
    if backlog.dead:
        dead = journal.journal_read(EntryQuery(states=("dead",), limit=_LISTED_DEAD_LETTERS))
    letters = tuple(
        DeadLetter(
            op_id=entry.op_id,
            kind=entry.kind,
            stream=entry.stream,
            destination=entry.destination,
            place=place,
            error=entry.error,
        )
        for entry in dead
    )
    return _Seen(place, backlog, letters)


def _streams(seen: _Seen) -> Iterable[StreamStatus]:
    now = seen.backlog.now
    for stream in seen.backlog.streams:
        yield StreamStatus(
            stream=stream.stream,
            place=seen.place,
            waiting=stream.waiting,
            oldest_seconds=round(max(0.0, now - stream.oldest_at), 1),
            due_in_seconds=round(stream.next_attempt_at - now, 1),
            error=stream.error,
            waiting_for=stream.waiting_for,
        )


def _others(seen: Iterable[_Seen], destination: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in seen:
        for name, count in each.backlog.by_destination.items():
            if name != destination and count:
                counts[name] = counts.get(name, 0) + count
    return counts
