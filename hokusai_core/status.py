"""Health and backlog of one destination as one value, to be printed or read by a program."""

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from pydantic import computed_field

from hokusai_core.addresses import without_credentials
from hokusai_core.backends import InstalledBackend, OpenBackend, installed_backends
from hokusai_core.circuit_breaker import CircuitState
from hokusai_core.clock import Deadline
from hokusai_core.entities import BackendHealth
from hokusai_core.errors import (
    BackendError,
    CircuitOpenError,
    InvalidInputError,
    JournalUnavailableError,
    NotStoredError,
    PermanentError,
    TransientError,
)
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Backlog, EntryQuery, QueuedOperation
from hokusai_core.listener import ObserverStatus
from hokusai_core.operations import Value
from hokusai_core.queries import ModelQuery
from hokusai_core.registration_events import RegistrationEvent
from hokusai_core.resolution import select_backends, settings_with, sort_arguments
from hokusai_core.retry import Retry
from hokusai_core.runtime import Runtime
from hokusai_core.settings import MOST_SECONDS, Settings

STUCK_SECONDS = 300.0
"""A stream that has failed, or was due and left alone, for so long is reported as stuck."""

_LISTED_DEAD_LETTERS = 20
_LISTED_EVENTS = 20
_OBSERVERS_SECONDS = 2.0
"""How long the import of installed observers is waited for."""
_ATTEMPTS = 2

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
        if self.waiting_for:
            return f"waiting for {self.waiting_for.removeprefix('id/')}"
        return "not tried yet"

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

    ``refused`` says that the primary answered and turned the request down (credentials, above all),
    so that it is not ``reachable`` either. ``latency_ms`` is in milliseconds, None where the primary
    did not answer; ``note`` is what a person should know of it though it is well. ``circuit`` is
    that of this process. ``journal_reachable`` is None where there is no fallback. ``waiting``
    counts this destination's operations in the journal, ``spool_waiting`` those in the spool,
    ``others`` those of other destinations; ``dead`` counts the dead letters of the whole journal.
    ``oldest_seconds`` is the age of the oldest operation that
    waits here. A figure is None where what could tell it does not answer; the fields that end in
    ``unreachable_because`` say why, and are "" where it does. At most 100 streams and
    20 dead letters are listed for each place. ``events_endpoint`` is where registration events go, ""
    for nowhere; ``registration_events`` are those that are not delivered, at most 20.
    """

    backend: str
    destination: str
    reachable: bool
    refused: bool = False
    latency_ms: float | None = None
    description: str = ""
    version: str = ""
    note: str = ""
    unreachable_because: str = ""
    circuit: CircuitState
    journal: str = ""
    journal_reachable: bool | None = None
    journal_unreachable_because: str = ""
    waiting: int | None = 0
    dead: int | None = 0
    dead_letters: tuple[DeadLetter, ...] = ()
    oldest_seconds: float | None = None
    streams: tuple[StreamStatus, ...] = ()
    spool_waiting: int | None = 0
    spool_unreachable_because: str = ""
    others: dict[str, int] = {}
    plugins: tuple[InstalledBackend, ...] = ()
    events_endpoint: str = ""
    registration_events: tuple[RegistrationEvent, ...] = ()
    observers: tuple[ObserverStatus, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, each with what to do; () where all is well."""
        found: list[str] = []
        if not self.reachable:
            found.append(self._unreachable())
        if self.journal_reachable is False:
            found.append(
                f"The journal is away: {_sentence(self.journal_unreachable_because)} Until it is "
                "back, what the primary does not take goes to the spool of each machine, where "
                "there is one."
            )
        if self.spool_unreachable_because:
            found.append(
                f"This machine's spool is away: {_sentence(self.spool_unreachable_because)} What is "
                "in it is not delivered, and it takes nothing while the journal is away."
            )
        if self.dead:
            found.append(
                f"{counted(self.dead, 'dead letter')}: refused for good, kept with the payload, not "
                "tried again by themselves. `hokusai queue list` gives the reasons; then mend the "
                "cause and `hokusai queue retry`, or `hokusai queue discard`."
            )
        if stuck := [stream for stream in self.streams if stream.stuck]:
            found.append(
                f"{counted(len(stuck), 'stream')} stuck for more than {STUCK_SECONDS / 60:.0f} "
                f"minutes, the first {stuck[0].stream}: {_sentence(stuck[0].reason)} `hokusai sync` "
                "tries now, and says what is in the way."
            )
        return tuple(found)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def healthy(self) -> bool:
        """Whether the primary answers, and nothing is dead, stuck or out of reach."""
        return not self.problems

    def _unreachable(self) -> str:
        verb = "refuses" if self.refused else "does not answer"
        said = f"{self.backend} at {self.destination} {verb}: {_sentence(self.unreachable_because)}"
        if self.journal_reachable is None:
            return f"{said} Writes raise errors until it is back: there is no fallback."
        if self.refused:
            return f"{said} What waits is kept."
        return f"{said} Writes are kept meanwhile, and delivered when it is back."


def status(
    settings: Settings | None = None,
    *,
    tracking_uri: str | None = None,
    backend: object = None,
    timeout: float | None = None,
) -> Status:
    """Ask a primary and its journal how they are, both at once. Writes nothing.

    Bounded in time: the primary is asked within ``timeout`` (and not at all while its circuit is
    open in this process), the journal within ``journal_timeout``. A primary that refuses
    connections costs no time.

    Args:
        settings: All settings; not given, they are read from the environment.
        tracking_uri: Address of the tracking server; not given, settings decide.
        backend: Name of the backend, its plugin, or a mock backend; not given, settings decide.
        timeout: Longest wait for the primary in seconds; not given, ``request_timeout``.

    Raises:
        ConfigurationError: An argument or setting is wrong, or the backend cannot be used.
        InvalidInputError: ``timeout`` is not above 0, or above ``MOST_SECONDS`` of the settings.
    """
    if timeout is not None and not 0 < timeout <= MOST_SECONDS:
        raise InvalidInputError(
            f"timeout must be above 0 and at most {MOST_SECONDS} seconds, not {timeout!r}."
        )
    given = sort_arguments(None, tracking_uri, None, None)
    selection = select_backends(
        settings=settings_with(settings), tracking_uri=given.tracking_uri, backend=backend
    )
    runtime = Runtime.shared(selection)
    primary = runtime.primary.get()
    seconds = timeout or runtime.settings.request_timeout
    with ThreadPoolExecutor(1, thread_name_prefix="hokusai-status") as other:
        journal = other.submit(_journal, runtime)
        figures = _primary(primary, runtime, seconds)
        followers = {
            "plugins": installed_backends(),
            "observers": runtime.observers.status(wait=_OBSERVERS_SECONDS),
            "events_endpoint": without_credentials(runtime.settings.events_endpoint),
        }
        return Status.model_validate(figures | journal.result() | followers)


def counted(count: int, noun: str) -> str:
    """Give a number with its noun: ``1 operation``, ``2 operations``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _primary(primary: OpenBackend, runtime: Runtime, seconds: float) -> dict[str, object]:
    figures: dict[str, object] = {"backend": primary.name, "destination": runtime.destination}
    deadline = Deadline(seconds, runtime.clock)
    try:
        # The first answer includes connecting, which is no measure of the server.
        _ask(primary, runtime, deadline)
        began = time.perf_counter()
        health = _ask(primary, runtime, deadline)
    except BackendError as failure:
        figures |= {
            "reachable": False,
            "refused": isinstance(failure, PermanentError),
            "unreachable_because": str(failure),
        }
    else:
        figures |= {
            "reachable": True,
            "latency_ms": round((time.perf_counter() - began) * 1000, 1),
            "description": health.description,
            "version": health.version,
            "note": health.note,
        }
    return figures | {"circuit": runtime.circuits.primary.state}


def _ask(primary: OpenBackend, runtime: Runtime, deadline: Deadline) -> BackendHealth:
    """Ask the primary, unless its circuit is open; one attempt more after a failure that came fast.

    A failure counts for the circuit like any other, unless less time was given than to others.
    """
    circuit = runtime.circuits.primary
    short = deadline.remaining() < runtime.settings.request_timeout / 2
    permit = circuit.admit()
    if permit is None:
        raise CircuitOpenError(
            f"It failed a moment ago, so it was not asked. The next call in "
            f"{circuit.seconds_until_probe():.0f} s tries it."
        )
    retry = Retry(_ATTEMPTS, runtime.clock, random.Random())
    try:
        health = retry.call(
            lambda: _check(primary, runtime.destination, deadline), deadline, repeatable=True
        )
    except TransientError:
        (circuit.abandoned if short else circuit.failed)(permit)
        raise
    except PermanentError:
        circuit.succeeded(permit)
        raise
    except BaseException:
        circuit.abandoned(permit)
        raise
    circuit.succeeded(permit)
    return health


def _check(backend: OpenBackend, destination: str, deadline: Deadline) -> BackendHealth:
    if backend.can("tracking"):
        return backend.tracking.tracking_check(deadline)
    backend.registry.registry_search_registered_models(ModelQuery(max_results=1), deadline)
    return BackendHealth(description=f"Registry {backend.name} at {destination}")


def _journal(runtime: Runtime) -> dict[str, object]:
    fallback = runtime.fallback
    if fallback is None:
        return {}
    with contextlib.suppress(NotStoredError):  # the buffer has told it
        runtime.points.gather()
    seen: dict[Place, _Seen | None] = {}
    reasons: dict[Place, str] = {}
    places: dict[Place, Callable[[], Journal | None]] = {
        "journal": lambda: fallback.journal,
        "spool": lambda: fallback.spool,
    }
    for place, open_journal in places.items():
        try:
            if journal := open_journal():
                seen[place] = _look(journal, place, runtime.destination)
        except JournalUnavailableError as failure:
            seen[place] = None
            reasons[place] = str(failure)
    told = [each for each in seen.values() if each]
    streams = tuple(stream for each in told for stream in _streams(each))

    def waiting(place: Place) -> int | None:
        if place not in seen:
            return 0
        each = seen[place]
        return each.backlog.by_destination.get(runtime.destination, 0) if each else None

    return {
        "journal": runtime.journal_description,
        "journal_reachable": "journal" not in reasons,
        "journal_unreachable_because": reasons.get("journal", ""),
        "waiting": waiting("journal"),
        "spool_waiting": waiting("spool"),
        "spool_unreachable_because": reasons.get("spool", ""),
        "dead": sum(each.backlog.dead for each in told) if seen.get("journal") else None,
        "dead_letters": tuple(letter for each in told for letter in each.dead_letters),
        "oldest_seconds": max(_ages(told, runtime.destination), default=None),
        "streams": streams,
        "others": _others(told, runtime.destination),
        "registration_events": (
            runtime.registration_events.all("pending", "failed", limit=_LISTED_EVENTS)
            if told
            else ()
        ),
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


def _ages(seen: Iterable[_Seen], destination: str) -> Iterator[float]:
    for each in seen:
        since = each.backlog.oldest_of(destination)
        if since is not None:
            yield round(max(0.0, each.backlog.now - since), 1)


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
