"""Finds observers, and tells them what happens.

The hooks are in :mod:`hokusai_core.observer_hooks`, the events in :mod:`hokusai_core.events`.
"""

import inspect
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import EntryPoint

import pluggy

from hokusai_core.errors import ConfigurationError
from hokusai_core.events import Event
from hokusai_core.installed import installed_entries
from hokusai_core.listener import Hook, Listener, ObserverStatus
from hokusai_core.markers import OBSERVER_GROUP, PROJECT
from hokusai_core.observer_hooks import HOOK_OF, ObserverHooks

_GIVEN = "observers="


class ObserverSet:
    """The observers of one destination in one process: those that are installed, and those given.

    Installed ones are looked up with the first event, and imported in their own threads.

    Args:
        timeout: Seconds after which a call of an observer counts as hanging.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._given: list[object] = []
        self._listeners: list[Listener] = []
        self._looked_up = False
        self._relay: Callable[[Event], None] | None = None
        self._lock = threading.RLock()

    def add(self, observers: Iterable[object]) -> None:
        """Add observers; one that is there already is passed over.

        Raises:
            ConfigurationError: One of them implements no hook, or one that does not exist, or with
                other arguments.
        """
        if isinstance(observers, str | bytes) or not isinstance(observers, Iterable):
            raise ConfigurationError(
                f"observers= must be a list of observers, not {type(observers).__name__}."
            )
        for observer in observers:
            hooks = hooks_of(observer, f"Observer {observer!r}")
            with self._lock:
                if any(known is observer for known in self._given):
                    continue
                self._given.append(observer)
                name = type(observer).__name__
                self._listeners.append(
                    Listener(name, _GIVEN, partial(_already, hooks), self._timeout)
                )

    def relay(self, to: Callable[[Event], None]) -> None:
        """Hand events on, for observers of another process; those that are installed hear them there."""
        self._relay = to

    def emit(self, event: Event) -> None:
        """Tell all observers of an event; returns at once, and never raises."""
        if self._relay is not None:
            self._relay(event)
            return
        hook = HOOK_OF[type(event)]
        for listener in self._all():
            listener.tell(hook, event)

    def status(self, wait: float = 0.0) -> tuple[ObserverStatus, ...]:
        """Give the state of each observer.

        Args:
            wait: Seconds to wait at most for those that are not loaded yet, which are loaded then;
                0 leaves them.
        """
        listeners = self._all()
        if wait > 0:
            for listener in listeners:
                listener.load()
            self.flush(wait)
        return tuple(listener.status() for listener in listeners)

    def flush(self, timeout: float) -> bool:
        """Wait until all events are told, at most ``timeout`` seconds; says whether they are."""
        until = time.monotonic() + timeout
        told = [listener.flush(max(0.0, until - time.monotonic())) for listener in self._listeners]
        return all(told)

    def reset_after_fork(self) -> None:
        """In a forked child: none of the parent's threads, locks and events."""
        self._lock = threading.RLock()
        for listener in self._listeners:
            listener.reset_after_fork()

    def _all(self) -> tuple[Listener, ...]:
        if not self._looked_up:
            with self._lock:
                found = [] if self._looked_up else list(self._installed())
                # Once more: a signal handler may have done so meanwhile.
                if not self._looked_up:
                    self._looked_up = True
                    self._listeners.extend(found)
        return tuple(self._listeners)

    def _installed(self) -> Iterable[Listener]:
        for entry in installed_entries(OBSERVER_GROUP):
            origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
            yield Listener(entry.name, origin, partial(_load, entry), self._timeout)


def hooks_of(observer: object, what: str) -> dict[str, Hook]:
    """Give the hooks that an observer implements, by name.

    Args:
        observer: An object or module with methods or functions marked as ``hookimpl``.
        what: What it is called in messages.

    Raises:
        ConfigurationError: It implements none, or one that does not exist, or with other arguments.
    """
    if inspect.isclass(observer):
        raise ConfigurationError(
            f"{what} is a class; give an instance of it: {observer.__name__}()."
        )
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(ObserverHooks)
    try:
        manager.register(observer)
        manager.check_pending()
    except pluggy.PluginValidationError as cause:
        raise ConfigurationError(f"{what} does not keep the contract: {cause}") from cause
    found: dict[str, Hook] = {}
    for name in HOOK_OF.values():
        for implementation in getattr(manager.hook, name).get_hookimpls():
            arguments = tuple(inspect.signature(implementation.function).parameters)
            if arguments != ("event",):
                raise ConfigurationError(
                    f"{what} implements {name} with the arguments ({', '.join(arguments)}); it must "
                    "be (event)."
                )
            found[name] = implementation.function
    if not found:
        raise ConfigurationError(
            f"{what} implements none of the hooks {', '.join(HOOK_OF.values())}. Mark its methods "
            "with hokusai_core.markers.hookimpl."
        )
    return found


def _already(hooks: dict[str, Hook]) -> dict[str, Hook]:
    return hooks


def _load(entry: EntryPoint) -> dict[str, Hook]:
    try:
        observer = entry.load()
    except Exception as cause:
        raise ConfigurationError(
            f"It fails to import ({entry.value}): {type(cause).__name__}: {cause}. Upgrade or "
            "uninstall its distribution."
        ) from cause
    return hooks_of(observer, f"Observer {entry.name!r} ({entry.value})")
