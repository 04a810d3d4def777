"""Processes, workers and a primary that a test steps by hand, in one thread, with time on command.

All but the clock, the randomness and the primary is the real machinery. What a real process meets at
any moment (a kill, a pause, a journal that is away) is made to happen at named points: before and
after each call to the journal (``before journal_settle``) and to the primary (``after send``).
"""

import contextlib
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast
from unittest import mock

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import JournalUnavailableError, PermanentError, UnavailableError
from hokusai_core.fallback import FallbackStore
from hokusai_core.forwarding import Forwarder
from hokusai_core.hookspecs import Journal, OpenContent
from hokusai_core.identifiers import new_op_id
from hokusai_core.ids import IdTranslator
from hokusai_core.lazy import Lazy
from hokusai_core.operations import AnyOperation
from hokusai_core.outages import OutageReporter
from hokusai_core.plugins import BackendConfig
from hokusai_core.reading import Sources
from hokusai_core.resolution import settings_with
from hokusai_core.router import Circuits, Router
from hokusai_core.run_reads import RunReader
from hokusai_core.settings import Delivery, Settings
from hokusai_core.snapshots import RunSnapshots
from hokusai_core.streams import StreamStates
from hokusai_core.sync import SyncWorker
from hokusai_core.testing.memory_journal import MemoryJournal
from hokusai_core.testing.mock import MockBackend

_EPOCH = 1_700_000_000.0


class Killed(BaseException):
    """The process is gone at this very point: nothing that it would have done later happens."""


class Place(Protocol):
    """A journal under test, and the time that passes for it."""

    journal: Journal

    def time_passes(self, seconds: float) -> None:
        """Let the journal's own clock go on."""

    def close(self) -> None:
        """Let go of what the journal holds."""


class SimulatedClock:
    """Monotonic time that goes on only when it is told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.listeners: list[Callable[[float], None]] = []

    def monotonic(self) -> float:
        """Seconds on this clock."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait: time passes at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.now += seconds
        for listener in self.listeners:
            listener(seconds)

    def wall(self) -> float:
        """Seconds since 1970."""
        return _EPOCH + self.now


class MemoryPlace:
    """A :class:`Place` in memory."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.memory = MemoryJournal(now=clock.wall)
        self.journal = cast("Journal", self.memory)

    def time_passes(self, seconds: float) -> None:
        """Nothing to do: the journal reads the simulated clock."""

    def close(self) -> None:
        """Nothing to do."""


OpenPlace = Callable[[SimulatedClock], Place]


@dataclass
class Interruption:
    """What happens when one of the living reaches a point for the ``skip``-th time after now."""

    point: str
    skip: int
    action: Callable[["Life", AnyOperation | None], None]


@dataclass
class Life:
    """What is killed as one: a process, or a worker with a process of its own."""

    name: str
    ended: bool = False
    worker: bool = False


@dataclass
class _Late:
    until: float
    effect: Callable[[], object]


@dataclass
class World:
    """What all processes share: time, the primary, the journal; and what goes wrong with them."""

    place: Place
    clock: SimulatedClock
    settings: Settings
    primary: MockBackend = field(default_factory=MockBackend)
    journal_down: bool = False
    answers_to_lose: list[str] = field(default_factory=list)
    interruption: Interruption | None = None
    delays: int = 0
    refused: set[str] = field(default_factory=set)
    """The ``op_id`` of what the primary refused a worker for good, at any time."""
    sent_late: set[str] = field(default_factory=set)
    """The ``op_id`` of what a process sent itself, and what was then delayed."""
    _late: list[_Late] = field(default_factory=list)
    _prefix: str = field(default_factory=lambda: new_op_id()[:16])
    _count: int = 0

    def __post_init__(self) -> None:
        self.clock.listeners.append(self._time_passed)

    @property
    def destination(self) -> str:
        """Identity of the primary."""
        return self.primary.destination

    def number(self) -> int:
        """Give the next number: no two of a world are equal."""
        self._count += 1
        return self._count

    def op_id(self) -> str:
        """Make an operation's id that sorts by the time of its making, so that runs repeat."""
        return f"{self._prefix}{self.number():016x}"

    def name(self, text: str) -> str:
        """Make a name that no other world has: worlds may share a database."""
        return f"{text} {self._prefix}"

    def reach(self, point: str, life: Life, operation: AnyOperation | None = None) -> None:
        """Say that somebody is at a point; what was planned for it happens."""
        if life.ended:
            raise Killed
        planned = self.interruption
        if planned is None or planned.point != point:
            return
        if planned.skip > 0:
            planned.skip -= 1
            return
        self.interruption = None
        planned.action(life, operation)

    def delay(self, operation: AnyOperation, open_content: OpenContent | None) -> None:
        """Let the effect of a write come later, but before the late-effect window ends."""
        if open_content is not None:
            with open_content() as stream:
                open_content = partial(io.BytesIO, stream.read())
        self._late.append(
            _Late(
                self.clock.now + self.settings.late_effect_seconds,
                lambda: self.primary.store.apply(operation, open_content),
            )
        )

    def land_late_effects(self) -> None:
        """Carry out what was delayed."""
        late, self._late = self._late, []
        for each in late:
            with contextlib.suppress(PermanentError):
                each.effect()

    def mend(self) -> None:
        """Let nothing go wrong any more, refusals for good apart."""
        self.primary.up()
        self.primary.forget_steps()
        self.journal_down = False
        self.answers_to_lose.clear()
        self.interruption = None
        self.delays = 0
        self.land_late_effects()

    def _time_passed(self, seconds: float) -> None:
        if any(each.until <= self.clock.now for each in self._late):
            self.land_late_effects()
        self.place.time_passes(seconds)


class _GuardedJournal:
    """A journal as one of the living reaches it."""

    def __init__(self, inner: Journal, world: World, life: Life, *, shared: bool) -> None:
        self._inner = inner
        self._world = world
        self._life = life
        self._shared = shared

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            world = self._world
            world.reach(f"before {name}", self._life)
            if self._shared and world.journal_down:
                raise JournalUnavailableError("The journal is down.")
            result = inner(*arguments)
            if self._shared and name in world.answers_to_lose:
                world.answers_to_lose.remove(name)
                raise JournalUnavailableError(f"{name}: answer lost.", maybe_applied=True)
            world.reach(f"after {name}", self._life)
            return result

        return call


class _GuardedPrimary:
    """The primary as one of the living reaches it."""

    def __init__(self, inner: OpenBackend, world: World, life: Life) -> None:
        self._inner = inner
        self._world = world
        self._life = life
        self.destination = inner.destination
        self.tracking = inner.tracking
        self.registry = inner.registry

    def write(
        self, operation: AnyOperation, deadline: Deadline, open_content: OpenContent | None = None
    ) -> Receipt:
        world = self._world
        world.reach("before send", self._life, operation)
        if world.delays:
            world.delays -= 1
            world.delay(operation, open_content)
            if not self._life.worker:
                world.sent_late.add(operation.op_id)
            raise UnavailableError("The answer is late.", maybe_applied=True)
        try:
            receipt = self._inner.write(operation, deadline, open_content)
        except PermanentError:
            if self._life.worker:
                world.refused.add(operation.op_id)
            raise
        world.reach("after send", self._life, operation)
        return receipt


class SimulatedProcess:
    """One process with its router, readers and worker, over the world's journal and primary.

    Args:
        world: What it shares with the others.
        name: Names it in listings.
        spool: Its local spool, which outlives it; None for a process that has none.
        delivery: Whether its writes go to the primary at once, or to the journal first.
    """

    def __init__(
        self, world: World, name: str, spool: Journal | None, delivery: Delivery = "direct"
    ) -> None:
        self.world = world
        self._settings = settings_with(world.settings, delivery=delivery)
        self.name = name
        self.spool = spool
        self.lives = 0
        self.restart()

    def restart(self) -> None:
        """End the process, and begin another that knows nothing but what is stored."""
        world = self.world
        self.lives += 1
        self.life = Life(self.name)
        settings = self._settings
        with _repeatable_randomness():
            circuits = Circuits(self._breaker(), self._breaker())
            life = self.life
            primary = Lazy(lambda: self._open_primary(life))
            self._journal_breaker = self._breaker()
            fallback = FallbackStore(
                lambda: self._open_journal(world.place.journal, life, shared=True),
                (lambda: self._open_journal(spool, life, shared=False))
                if (spool := self.spool) is not None
                else None,
                self._journal_breaker,
                settings.max_queued_artifact_bytes,
            )
            ids = IdTranslator(fallback)
            self.streams = StreamStates()
            self.router = Router(
                primary,
                world.destination,
                fallback,
                circuits,
                ids,
                self.streams,
                OutageReporter("The primary", lambda: "the journal", automatic=False),
                settings,
                world.clock,
                on_queued=lambda: None,
            )
        sources = Sources(
            primary,
            world.destination,
            fallback,
            circuits.primary,
            circuits.artifacts,
            ids,
            self.streams,
            settings,
            world.clock,
        )
        self.runs = RunReader(sources, RunSnapshots())
        self.renew_worker()

    def renew_worker(self) -> None:
        """Take a new worker: the one before is dead."""
        world = self.world
        self.worker_life = Life(f"worker of {self.name}", worker=True)
        with _repeatable_randomness():
            self.worker = SyncWorker(
                self._journal(world.place.journal, self.worker_life, shared=True),
                self._open_primary(self.worker_life),
                Circuits(self._breaker(), self._breaker()),
                world.settings,
                self.worker_life.name,
                world.clock,
            )

    def forward(self) -> None:
        """Move the spool into the journal, if there is one."""
        if self.spool is None:
            return
        Forwarder(
            self._journal(self.spool, self.worker_life, shared=False),
            self._journal(self.world.place.journal, self.worker_life, shared=True),
            self.world.destination,
            self.world.settings,
            f"forwarder of {self.name}",
        ).forward()

    @property
    def reaches_journal(self) -> bool:
        """Whether a read would ask the journal now."""
        return self._journal_breaker.seconds_until_probe() == 0

    def _breaker(self) -> CircuitBreaker:
        settings = self.world.settings
        return CircuitBreaker(
            failures=settings.circuit_failures,
            open_seconds=settings.circuit_open_seconds,
            open_max_seconds=settings.circuit_open_max_seconds,
            probe_seconds=settings.write_timeout * 2,
            clock=self.world.clock,
            random_source=random.Random(0),
        )

    def _open_primary(self, life: Life) -> OpenBackend:
        config = BackendConfig(self.world.settings, role="primary", data_dir=Path())
        opened = open_backend(self.world.primary.plugin, config)
        return cast("OpenBackend", _GuardedPrimary(opened, self.world, life))

    def _journal(self, journal: Journal, life: Life, *, shared: bool) -> Journal:
        return cast("Journal", _GuardedJournal(journal, self.world, life, shared=shared))

    def _open_journal(self, journal: Journal, life: Life, *, shared: bool) -> OpenBackend:
        config = BackendConfig(self.world.settings, role="journal", data_dir=Path())
        opened = open_backend(MemoryJournal().plugin, config)
        opened.journal = self._journal(journal, life, shared=shared)
        return opened


class _Repeatable(random.Random):
    """Randomness that is the same in every run."""

    def __init__(self, seed: object = None) -> None:
        super().__init__(0)


@contextlib.contextmanager
def _repeatable_randomness() -> Iterator[None]:
    """Let what is made inside draw the same jitter in every run, so that failures can be reduced."""
    with mock.patch("random.Random", _Repeatable):
        yield
