"""All that stands behind managers and registries of one destination: backends, router, readers."""

import logging
import os
import random
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai_core.backends import (
    OpenBackend,
    check_drivers,
    destination_of,
    find_backend,
    open_backend,
)
from hokusai_core.backlog_counts import BacklogCounts
from hokusai_core.buffered_points import BufferedPoints
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.claim_progress import Step
from hokusai_core.clock import Clock, SystemClock
from hokusai_core.draining import LINGER_SECONDS, BackgroundDrainer, Drain
from hokusai_core.errors import ConfigurationError, JournalUnavailableError, NotStoredError
from hokusai_core.event_reporting import EventReporter
from hokusai_core.events import CircuitName
from hokusai_core.fallback import FallbackStore
from hokusai_core.fallback_examination import FallbackExamination
from hokusai_core.forwarding import Forwarder
from hokusai_core.hook_binding import check_capability
from hokusai_core.hookspecs import Journal
from hokusai_core.ids import IdTranslator
from hokusai_core.journal import QueuedOperation
from hokusai_core.lazy import Lazy
from hokusai_core.observers import ObserverSet
from hokusai_core.operations import AnyOperation
from hokusai_core.outages import OutageReporter
from hokusai_core.plugins import BackendConfig, BackendPlugin, Role
from hokusai_core.poison import PoisonGuard
from hokusai_core.portable import from_portable, to_own_process, to_portable
from hokusai_core.process_hooks import (
    ForkSensitive,
    after_fork_in_child,
    close_backends,
    register_process_hooks,
)
from hokusai_core.reading import KEPT, Sources
from hokusai_core.registration_events import KIND, RegistrationEvents
from hokusai_core.registry_reads import RegistryReader
from hokusai_core.resolution import BackendSelection, settings_with
from hokusai_core.retention import Pruner
from hokusai_core.router import Circuits, Router
from hokusai_core.run_reads import RunReader
from hokusai_core.search_pauses import SearchPauses
from hokusai_core.selected_plugins import backend_config, check_for_other_processes, journal_plugin
from hokusai_core.settings import Delivery, Durability
from hokusai_core.snapshots import RunSnapshots
from hokusai_core.streams import StreamStates
from hokusai_core.sync import SyncWorker

if TYPE_CHECKING:
    from hokusai_core.delivery_process import DeliveryProcess

logger = logging.getLogger("hokusai")


@dataclass(frozen=True)
class _Key:
    """What two runtimes must have in common to be one."""

    selection: BackendSelection
    destination: str


class Runtime:
    """The machinery of one destination in one process.

    Managers and registries with the same backends and settings share one, so that what one of them
    queues is known to the other. Making one does no I/O.

    Args:
        selection: Which backends.
        destination: Identity of the primary.
        plugin: The primary's manifest.
        clock: Time.
    """

    def __init__(
        self, selection: BackendSelection, destination: str, plugin: BackendPlugin, clock: Clock
    ) -> None:
        settings = selection.settings
        self.selection = selection
        self.settings = settings
        self.destination = destination
        self.clock = clock
        self._plugin = plugin
        self._journal_plugin = journal_plugin(selection, plugin)
        self.primary = Lazy(self._open_primary)
        self.observers = ObserverSet(settings.observer_timeout)
        self.events = EventReporter(self.observers, destination)
        events_circuit = self._breaker("events", settings.write_timeout)
        self.circuits = Circuits(
            primary=self._breaker("primary", settings.write_timeout),
            artifacts=self._breaker("artifacts", settings.artifact_idle_timeout),
            events=events_circuit,
        )
        self.streams = _streams_of(selection, destination)
        self.fallback = self._fallback()
        self._backlog = BacklogCounts(self.fallback, destination)
        self.points = BufferedPoints(
            settings,
            destination,
            self.fallback,
            self.streams,
            self._local_folder,
            self._adopted,
            relay_ready=lambda: self.drainer.in_other_process,
            on_passed=self._queued,
            waiting_points=lambda: self.router.waiting_points,
        )
        self.ids = IdTranslator(self.fallback)
        self.snapshots = RunSnapshots()
        self.forked: weakref.WeakSet[ForkSensitive] = weakref.WeakSet()
        """Managers and handles, whose locks are made anew in a forked child."""
        self._examination = FallbackExamination(
            None if self._journal_plugin is plugin else self._journal_plugin, self._config
        )
        self.reporter = OutageReporter(
            f"Backend {plugin.name} at {destination}",
            self._outage_place,
            automatic=bool(settings.auto_sync),
            on_begin=self.events.fallback_began,
            on_end=self.events.fallback_ended,
        )
        self.drainer: BackgroundDrainer | DeliveryProcess = self._new_drainer()
        self.router = Router(
            self.primary,
            destination,
            self.fallback,
            self.circuits,
            self.ids,
            self.streams,
            self.reporter,
            settings,
            clock,
            on_queued=self._queued,
            on_delivered=partial(self.events.delivered, waited=False),
            check=self._check,
        )
        self.sources = Sources(
            self.primary,
            destination,
            self.fallback,
            self.circuits.primary,
            self.circuits.artifacts,
            self.ids,
            self.streams,
            settings,
            clock,
        )
        self.runs = RunReader(self.sources, self.snapshots)
        self.registry = RegistryReader(self.sources)
        self.registration_events = RegistrationEvents(
            settings,
            destination,
            self.fallback,
            self.ids,
            events_circuit,
            clock,
            on_kept=self._queued,
        )
        self._worker: SyncWorker | None = None
        self._closed = False
        self._pruner = Pruner(self._journals, settings.retention_seconds, clock)
        self._poison = PoisonGuard(settings.max_attempts)
        self._search_pauses = SearchPauses()
        register_process_hooks(self)

    @classmethod
    def shared(cls, selection: BackendSelection) -> "Runtime":
        """Give the process's runtime for a selection, made if need be.

        Raises:
            ConfigurationError: A backend is unknown, not installed or broken.
        """
        plugin = find_backend(selection.plugin or selection.backend)
        config = backend_config(selection, "primary")
        check_drivers(plugin, config)
        destination = destination_of(plugin, config)
        key = _Key(selection.model_copy(update={"plugin": None}), destination)
        with _RUNTIMES_LOCK:
            runtime = _RUNTIMES.get(key)
            if runtime is None:
                runtime = cls(selection, destination, plugin, SystemClock())
                _RUNTIMES[key] = runtime
            return runtime

    @classmethod
    def from_portable(cls, portable: dict[str, Any]) -> "Runtime":
        """Give the runtime for what :meth:`portable_selection` gave, in any process.

        Secrets come from this process's environment.
        """
        return cls.shared(from_portable(portable))

    def with_modes(self, delivery: Delivery | None, durability: Durability | None) -> "Runtime":
        """Give the process's runtime of the same backends with these modes; None leaves one.

        Raises:
            ConfigurationError: A mode is unknown, or needs a journal, and there is none.
        """
        settings = settings_with(self.settings, delivery=delivery, durability=durability)
        if settings == self.settings:
            return self
        return Runtime.shared(self.selection.model_copy(update={"settings": settings}))

    def portable_selection(self) -> dict[str, Any]:
        """Give what selects these backends, without secrets, to be pickled.

        Raises:
            ConfigurationError: The backend was given as an object, which another process lacks.
        """
        return to_portable(self.selection)

    def run_entries(self, run_id: str, kinds: tuple[str, ...]) -> tuple[QueuedOperation, ...]:
        """Read the journal's entries of a run's stream, in every state."""
        return self.sources.entries(streams=(f"run/{run_id}",), kinds=kinds, states=KEPT)

    def can(self, capability: str) -> bool:
        """Say whether the primary declares a capability."""
        return capability in self._plugin.capabilities

    def mlflow_address(self, tracking_uri: str | None = None) -> str:
        """Give the address under which MLflow's own client reaches the primary; "" where it cannot.

        Args:
            tracking_uri: Ask it of this address in the place of the primary's own, so that two ways
                to write one address compare as equal.
        """
        config = self._config("primary")
        if tracking_uri is not None:
            config = replace(config, tracking_uri=tracking_uri)
        try:
            return self._plugin.mlflow_address(config)
        except ConfigurationError:
            return ""

    @property
    def journal_description(self) -> str:
        """The journal's address without credentials; "" where there is no fallback."""
        if self._journal_plugin is None:
            return ""
        return destination_of(self._journal_plugin, self._config("journal"))

    def drain(self) -> Drain:
        """Make a drain of this destination's backlog.

        Raises:
            ConfigurationError: There is no fallback, so nothing can wait.
        """
        return Drain(
            self._needed_fallback.journal,
            self.destination,
            lambda: self._new_worker("sync"),
            self._forward,
            self._backlog.in_spool,
            self.settings.sync_threads,
            prune=self._pruner.prune_if_due,
        )

    def waiting(self) -> int | None:
        """Count what waits for this destination, in journal and spool; None where nobody can tell."""
        try:
            return self._backlog.count()
        except (JournalUnavailableError, NotStoredError):
            return None

    def hurry(self) -> None:
        """Somebody waits for the delivery of what is queued: let it begin at once."""
        if self.settings.auto_sync and self.settings.delivery == "queued":
            self.drainer.wake(at_once=True)

    def close(self, timeout: float) -> int | None:
        """Stop the drainer after trying for ``timeout`` seconds to deliver the rest.

        Returns:
            How many operations are left of this destination; None where nobody can tell.
        """
        self.points.flush_at_the_end()
        if self._closed:
            return 0
        if not self.drainer.running:
            # Another process delivers, but what this one leaves is told by this one.
            return self.waiting() if self.streams.any_queued else 0
        until = time.monotonic() + timeout
        while self.drainer.running and self.waiting() != 0 and time.monotonic() < until:
            self.drainer.wake(at_once=True)
            time.sleep(0.02)
        self.drainer.stop(timeout=max(0.1, until - time.monotonic()))
        return self.waiting()

    def close_connections(self) -> None:
        """Close the connections of all backends; the next use opens new ones.

        What waits is not looked at again at the end of the process, unless more is queued.
        """
        self.points.close()
        close_backends(self.primary, self.fallback)
        self._closed = True

    def reset_after_fork(self) -> None:
        """In a forked child: no thread of the parent, none of its locks and connections."""
        self.primary.forget()
        circuits = self.circuits.primary, self.circuits.artifacts
        parts: list[ForkSensitive] = [self.primary, *circuits, self.registration_events]
        parts += [self.fallback] if self.fallback else []
        parts += [self.streams, self.points, self.reporter, self.observers, self.drainer]
        for part in (*parts, *self.forked):
            part.reset_after_fork()
        self._pruner = Pruner(self._journals, self.settings.retention_seconds, self.clock)
        self._poison = PoisonGuard(self.settings.max_attempts)
        self._worker = None

    def _new_drainer(self) -> "BackgroundDrainer | DeliveryProcess":
        queued = self.settings.delivery == "queued"
        thread = BackgroundDrainer(
            step=self._drainer_step,
            forward=self._forward,
            waiting=self._backlog.count,
            on_empty=self._drained,
            linger=LINGER_SECONDS if queued else 0.0,
        )
        if not queued or self.settings.auto_sync != "process":
            return thread
        check_for_other_processes(self.selection, self._plugin, self._journal_plugin)
        # Only who uses it pays for the import.
        from hokusai_core.delivery_process import DeliveryProcess

        return DeliveryProcess(
            partial(to_own_process, self.selection),
            (self.destination, self.journal_description),
            thread,
            on_event=self.observers.emit,
        )

    def _config(self, role: Role) -> BackendConfig:
        return backend_config(self.selection, role)

    def _open_primary(self) -> OpenBackend:
        backend = open_backend(self._plugin, self._config("primary"))
        # What waits was queued under this name; a mock has another one with each opening.
        backend.destination = self.destination
        backend.load_driver()
        backend.carry(KIND, self.registration_events.send)
        return backend

    def _breaker(self, name: CircuitName, probe_seconds: float) -> CircuitBreaker:
        settings = self.settings
        breaker = CircuitBreaker(
            failures=settings.circuit_failures,
            open_seconds=settings.circuit_open_seconds,
            open_max_seconds=settings.circuit_open_max_seconds,
            probe_seconds=settings.circuit_probe_seconds or probe_seconds * 2,
            jitter=settings.circuit_jitter_percent / 100,
            clock=self.clock,
            random_source=random.Random(),
        )
        return self.events.watch(name, breaker)

    def _fallback(self) -> FallbackStore | None:
        plugin = self._journal_plugin
        if plugin is None:
            return None
        shared = plugin.needs_spool(self._config("journal"))
        return FallbackStore(
            lambda: open_backend(plugin, self._config("journal")),
            (lambda: open_backend(plugin, self._config("spool"))) if shared else None,
            self._breaker("journal", self.settings.journal_timeout),
            self.settings.max_queued_artifact_bytes,
            on_open=self._deliver,
            before_reading=lambda: self.points.gather(),  # noqa: PLW0108 - they are made later
        )

    def _local_folder(self) -> Path | None:
        if self._journal_plugin is None:
            return None
        return self._journal_plugin.local_folder(self._config("journal"))

    def _check(self, operation: AnyOperation) -> None:
        check_capability(self._plugin, operation)
        self._examination.warn_once()

    def _adopted(self, destination: str, stream: str) -> None:
        if destination == self.destination:
            self.streams.set_queued(stream)
            self._queued()

    def _queued(self) -> None:
        self._closed = False
        self._deliver()

    def _deliver(self) -> None:
        """Let what waits be delivered, also what an earlier process left."""
        if self.settings.auto_sync:
            self.drainer.wake()

    def _outage_place(self) -> str:
        return f"the journal {self.journal_description}" if self._journal_plugin else "nothing"

    def _forwarder(self) -> Forwarder | None:
        if self.fallback is None or self.fallback.spool is None:
            return None
        return Forwarder(
            self.fallback.spool,
            self.fallback.journal,
            self.destination,
            self.settings,
            _worker_name("forward"),
        )

    def _forward(self) -> int:
        self.points.gather()
        forwarder = self._forwarder()
        return forwarder.forward() if forwarder else 0

    def _dead(self, entry: QueuedOperation, error: str) -> None:
        self.reporter.refused()
        self.events.dead(entry, error)

    def _drained(self) -> None:
        self.reporter.over()
        self._pruner.prune_if_due()

    def _journals(self) -> Iterator[Journal]:
        if self.fallback is None:
            return
        yield self.fallback.journal
        if spool := self.fallback.spool:
            yield spool

    @property
    def _needed_fallback(self) -> FallbackStore:
        if self.fallback is None:
            raise ConfigurationError("There is no fallback (HOKUSAI_FALLBACK=none): nothing waits.")
        return self.fallback

    def _new_worker(self, purpose: str, *, overlap: bool = True) -> SyncWorker:
        return SyncWorker(
            self._needed_fallback.journal,
            self.primary.get(),
            self.circuits,
            self.settings,
            _worker_name(purpose),
            self.clock,
            self._poison,
            self._search_pauses,
            self.events.delivered,
            self._dead,
            overlap=overlap,
        )

    def _drainer_step(self) -> Step:
        if self._worker is None:
            self._worker = self._new_worker("drainer", overlap=self.settings.delivery == "direct")
        step = self._worker.run_once()
        if step.kind == "idle" and self.reporter.under_way and self._backlog.only_events():
            # Where these go is another service: the primary's outage is over.
            self.reporter.over()
        return step


def _worker_name(purpose: str) -> str:
    return f"{purpose}@{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"


_RUNTIMES: "weakref.WeakValueDictionary[_Key, Runtime]" = weakref.WeakValueDictionary()
_RUNTIMES_LOCK = threading.RLock()
_STREAMS: "weakref.WeakValueDictionary[_Key, StreamStates]" = weakref.WeakValueDictionary()


def _streams_of(selection: BackendSelection, destination: str) -> StreamStates:
    """Give what runtimes share that differ in their modes only, so that order is kept among them."""
    modes = {"delivery": "direct", "durability": "machine"}
    settings = selection.settings.model_copy(update=modes)
    key = _Key(selection.model_copy(update={"plugin": None, "settings": settings}), destination)
    return _STREAMS.setdefault(key, StreamStates())


def _renew_lock() -> None:
    """In a forked child: a thread of the parent that is not here may have held the lock."""
    global _RUNTIMES_LOCK  # noqa: PLW0603 - the lock guards the table above
    _RUNTIMES_LOCK = threading.RLock()


after_fork_in_child(_renew_lock)
