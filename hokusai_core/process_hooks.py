"""What a runtime does when the process forks, and when it ends."""

import atexit
import logging
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from hokusai_core.backends import OpenBackend
from hokusai_core.fallback import FallbackStore
from hokusai_core.lazy import Lazy

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime

logger = logging.getLogger("hokusai")


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

    def at_exit() -> None:
        living = reference()
        if living is None:
            return
        told = living.reporter.under_way
        left = living.close(living.settings.exit_timeout)
        # Where nobody can tell, it is worth a line only if something was known to wait.
        if left or (left is None and told):
            logger.warning(
                "%s operations for %s are still waiting, and kept. Send them with `hokusai sync`, or "
                "with the next job that uses this journal.",
                "Some" if left is None else left,
                living.destination,
            )

        living.close_connections()

    # A runtime that nobody holds any more lets go of its connections.
    weakref.finalize(runtime, close_backends, runtime.primary, runtime.fallback).atexit = False
    after_fork_in_child(after_fork)
    atexit.register(at_exit)
