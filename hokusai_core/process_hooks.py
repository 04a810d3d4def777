"""What runtimes do when the process forks, and when it ends."""

import atexit
import logging
import os
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from hokusai_core.backends import OpenBackend
from hokusai_core.fallback import FallbackStore
from hokusai_core.lazy import Lazy

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime

logger = logging.getLogger("hokusai")

_LIVING: "weakref.WeakSet[Runtime]" = weakref.WeakSet()
"""All runtimes of the process: at its end, what they leave in one journal is told in one line."""


class ForkSensitive(Protocol):
    """What has locks that a forked child has to make anew."""

    def reset_after_fork(self) -> None:
        """In a forked child: threads of the parent that held a lock are not here."""


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Call a function in each forked child, where the system can fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def close_backends(primary: Lazy[OpenBackend], fallback: FallbackStore | None) -> None:
    """Close the connections of all backends; the next use opens new ones."""
    if (backend := primary.opened()) is not None:
        backend.close()
    if fallback:
        fallback.close()


def register_process_hooks(runtime: "Runtime") -> None:
    """Let the runtime know of a fork, and of the end of the process, without keeping it alive."""
    reference = weakref.ref(runtime)

    def after_fork() -> None:
        if (living := reference()) is not None:
            living.reset_after_fork()

    # A runtime that nobody holds any more lets go of its connections.
    weakref.finalize(runtime, close_backends, runtime.primary, runtime.fallback).atexit = False
    after_fork_in_child(after_fork)
    _LIVING.add(runtime)
    # Anew each time: what is registered last runs first, while what backends need is still there.
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


def end_of_process(runtimes: Iterable["Runtime"]) -> None:
    """Deliver what can be delivered in the time that is left, and tell what cannot: once a journal.

    Args:
        runtimes: Those whose connections are open; they are closed. Their drainers work side by
            side, so the longest ``exit_timeout`` bounds all of it.
    """
    began = time.monotonic()
    left: dict[str, dict[str, int | None]] = defaultdict(dict)
    for runtime in tuple(runtimes):
        told = runtime.reporter.under_way
        ends = began + runtime.settings.exit_timeout
        count = runtime.close(max(0.0, ends - time.monotonic()))
        # Where nobody can tell, it is worth a line only if something was known to wait.
        if count or (count is None and told):
            left[runtime.journal_description][runtime.destination] = count
        runtime.observers.flush(max(0.0, ends - time.monotonic()))
        runtime.close_connections()
    for journal, counts in left.items():
        logger.warning(
            "Not delivered yet, and kept in the journal %s: %s. `hokusai sync` delivers, and so does "
            "the next job that uses this journal.",
            journal,
            ", ".join(_counted(count, name) for name, count in sorted(counts.items())),
        )


def _counted(count: int | None, destination: str) -> str:
    if count is None:
        return f"operations for {destination} (how many, the journal does not tell)"
    return f"{count} operation{'' if count == 1 else 's'} for {destination}"


def _at_exit() -> None:
    end_of_process(_LIVING)
