"""What this process's run handles know of their runs, for reads in an outage."""

import weakref
from typing import Protocol

from hokusai_core.entities import Run


class KnowsRun(Protocol):
    """A run handle, as the snapshots need it."""

    def known_run(self) -> Run:
        """Give what the handle wrote, as a run that is not complete."""


class RunSnapshots:
    """Finds a living run handle by an id of its run."""

    def __init__(self) -> None:
        self._handles: weakref.WeakValueDictionary[str, KnowsRun] = weakref.WeakValueDictionary()

    def add(self, run_id: str, handle: KnowsRun) -> None:
        """Remember a handle as long as it lives."""
        self._handles[run_id] = handle

    def all(self) -> tuple[Run, ...]:
        """Give what every living handle knows."""
        return tuple(handle.known_run() for handle in tuple(self._handles.values()))

    def find(self, ids: frozenset[str]) -> Run | None:
        """Give what a handle knows of the run with one of these ids."""
        for run_id in ids:
            handle = self._handles.get(run_id)
            if handle is not None:
                return handle.known_run()
        return None
