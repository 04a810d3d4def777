"""Lets a process fork only while no other thread holds what a child would find held for ever.

SQLite keeps its locks per process and file, and Python keeps a lock for each module that is being
imported, in memory that a forked child inherits without the threads that would let go of them.
"""

import concurrent.futures.thread  # noqa: F401 - see _register
import logging  # noqa: F401
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ForkGate:
    """Counts the threads that are inside, and lets no fork happen before they have left.

    A fork waits until no other thread is inside, at most ``timeout``: it must never hang. Until the
    fork is done nobody enters.

    Args:
        timeout: In seconds.
        close: Called before the fork, when nobody is inside: closes what a child must not inherit.

    """

    def __init__(self, timeout: float, close: Callable[[], None] = lambda: None) -> None:
        self._close = close
        self._timeout = timeout
        self._open()
        _register(weakref.ref(self))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Hold off forks of other threads during the block."""
        threads = self.enter()
        try:
            yield
        finally:
            self.leave(threads)

    def enter(self) -> dict[int, int]:
        """Begin to hold off forks of other threads; gives what :meth:`leave` needs.

        For what is called so often that a context manager would be felt.
        """
        own = threading.get_ident()
        with self._lock:
            threads = self._threads
            threads[own] = threads.get(own, 0) + 1
        return threads

    def leave(self, threads: dict[int, int]) -> None:
        """End what :meth:`enter` began."""
        own = threading.get_ident()
        with self._lock:
            threads[own] -= 1
            if not threads[own]:
                del threads[own]
                if self._awaited:
                    self._condition.notify_all()

    def before_fork(self) -> None:
        """Wait for the other threads, close what is to be closed, and keep everybody out."""
        own = threading.get_ident()
        self._condition.acquire()
        self._awaited = True
        self._condition.wait_for(lambda: not self._threads.keys() - {own}, self._timeout)
        self._forking = True
        self._close()

    def after_fork_in_parent(self) -> None:
        """Let everybody in again."""
        # A gate that was made while another thread forked was never shut.
        if self._forking:
            self._forking = self._awaited = False
            self._condition.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: of the parent's threads only the one that forked is here."""
        self._open()

    def _open(self) -> None:
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._forking = self._awaited = False
        self._threads: dict[int, int] = {}


def _register(reference: "weakref.ref[ForkGate]") -> None:
    """Let Python call a gate around each fork.

    Before a fork Python calls last what was registered first. So the modules of the standard library
    that take a lock of their own have to be imported before the first gate is made: a thread inside
    may need that lock to get out.
    """

    def call(name: str) -> Callable[[], None]:
        def hook() -> None:
            if (gate := reference()) is not None:
                getattr(gate, name)()

        return hook

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=call("before_fork"),
            after_in_parent=call("after_fork_in_parent"),
            after_in_child=call("after_fork_in_child"),
        )
