"""One observer with its queue and its thread, so that it can hold up nobody but itself."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from hokusai_core.events import Event
from hokusai_core.values import Value

logger = logging.getLogger("hokusai")

Hook = Callable[[Event], object]
ObserverState = Literal["not loaded", "ready", "failing", "hanging", "broken"]
"""``not loaded`` before its first event; ``failing``: its last call raised; ``hanging``: it has not
returned for longer than ``HOKUSAI_OBSERVER_TIMEOUT``; ``broken``: it cannot be loaded or used."""

_MOST_QUEUED = 1000
_IDLE_SECONDS = 5.0


class ObserverStatus(Value):
    """How one observer is.

    ``origin`` is the distribution that declares it, or ``observers=``. ``told`` counts the calls
    that returned, ``failed`` those that raised, ``dropped`` the events that it was too slow for.
    ``error`` is its last one.
    """

    name: str
    origin: str
    state: ObserverState
    told: int = 0
    failed: int = 0
    dropped: int = 0
    error: str = ""


class Listener:
    """Calls an observer's hooks on a thread of its own, one event after another.

    The thread starts with an event, and ends when there has been none for some seconds.

    Args:
        name: The observer's, for messages.
        origin: Where it comes from, for messages.
        load: Gives the hooks that it implements by name; called once, in the thread.
        timeout: Seconds after which a call counts as hanging.
    """

    def __init__(
        self, name: str, origin: str, load: Callable[[], dict[str, Hook]], timeout: float
    ) -> None:
        self._name = name
        self._origin = origin
        self._load = load
        self._timeout = timeout
        self._hooks: dict[str, Hook] | None = None
        self._broken = False
        self._told = 0
        self._failed = 0
        self._dropped = 0
        self._last_failed = False
        self._error = ""
        self._reported: set[str] = set()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """In a forked child: no thread, and the parent's events are the parent's to tell."""
        self._condition = threading.Condition()
        self._queue: deque[tuple[str, Event] | None] = deque()
        self._running = False
        self._busy_since: float | None = None

    def tell(self, hook: str, event: Event) -> None:
        """Queue an event for a hook; returns at once, whatever the observer does."""
        if self._hooks is None or hook in self._hooks:
            self._put((hook, event))

    def load(self) -> None:
        """Let the thread load the observer, if that was not done yet; returns at once."""
        if self._hooks is None:
            self._put(None)

    def flush(self, timeout: float) -> bool:
        """Wait until all events are told, at most ``timeout`` seconds; says whether they are."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._queue and self._busy_since is None, timeout
            )

    def status(self) -> ObserverStatus:
        """Give its state and figures."""
        state: ObserverState = "ready"
        if self._broken:
            state = "broken"
        elif self._hanging():
            state = "hanging"
        elif self._hooks is None:
            state = "not loaded"
        elif self._last_failed:
            state = "failing"
        return ObserverStatus(
            name=self._name,
            origin=self._origin,
            state=state,
            told=self._told,
            failed=self._failed,
            dropped=self._dropped,
            error=self._error,
        )

    def _put(self, item: tuple[str, Event] | None) -> None:
        with self._condition:
            if len(self._queue) >= _MOST_QUEUED:
                self._dropped += 1
                overfull = True
            else:
                overfull = False
                self._queue.append(item)
                self._start()
                self._condition.notify_all()
        if self._hanging():
            self._report(
                "hanging",
                f"has not returned for more than {self._timeout:g} s; it holds up nobody else, and "
                "hears later what happens meanwhile.",
            )
        if overfull:
            self._report("dropped", f"is more than {_MOST_QUEUED} events behind: it misses some.")

    def _start(self) -> None:
        """Start the thread where there is none; the caller holds the lock."""
        if self._running:
            return
        thread = threading.Thread(
            target=self._run, name=f"hokusai-observer-{self._name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as refusal:
            # The interpreter is about to end, and starts no thread any more.
            self._dropped += len(self._queue)
            self._queue.clear()
            logger.debug("Observer %s misses an event: %s", self._name, refusal)
            return
        self._running = True

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy_since = None
                self._condition.notify_all()
                if not self._condition.wait_for(lambda: bool(self._queue), _IDLE_SECONDS):
                    self._running = False
                    return
                item = self._queue.popleft()
                self._busy_since = time.monotonic()
            self._handle(item)

    def _handle(self, item: tuple[str, Event] | None) -> None:
        hooks = self._loaded()
        if item is None:
            return
        name, event = item
        hook = hooks.get(name)
        if hook is None:
            return
        try:
            hook(event)
        except BaseException as failure:  # noqa: BLE001 - whatever an observer does is its own
            self._failed += 1
            self._last_failed = True
            self._error = f"{type(failure).__name__}: {failure}"
            self._report(name, f"failed in {name}; the job goes on without it.", failure)
        else:
            self._told += 1
            self._last_failed = False

    def _loaded(self) -> dict[str, Hook]:
        if self._hooks is None:
            try:
                self._hooks = self._load()
            except BaseException as cause:  # noqa: BLE001 - whatever an import does is its own
                self._hooks = {}
                self._broken = True
                self._error = f"{type(cause).__name__}: {cause}"
                self._report("broken", "cannot be used, and is left out.", cause)
        return self._hooks

    def _hanging(self) -> bool:
        since = self._busy_since
        return since is not None and time.monotonic() - since > self._timeout

    def _report(self, what: str, text: str, cause: BaseException | None = None) -> None:
        """Log each kind of trouble once."""
        if what in self._reported:
            return
        self._reported.add(what)
        logger.warning(
            "Observer %r of %s %s%s",
            self._name,
            self._origin,
            text,
            f" {type(cause).__name__}: {cause}" if cause else "",
            exc_info=cause,
        )
