"""One experiment as a manager knows it: its name, and its id once that is known."""

import threading

from hokusai_core.errors import TransientError
from hokusai_core.identifiers import is_provisional
from hokusai_core.operations import CreateExperiment
from hokusai_core.runtime import Runtime


class OwnExperiment:
    """Gets or creates an experiment with the first write, and remembers its id. Thread-safe.

    Args:
        runtime: The machinery.
        name: The experiment's name.
    """

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self.name = name
        self._lock = threading.RLock()
        self._experiment_id: str | None = None

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.RLock()

    def get_or_create(self) -> str:
        """Give the experiment's id, which may be provisional; the experiment is made if need be."""
        with self._lock:
            known = self._experiment_id
            if known is not None and is_provisional(known):
                known = self._runtime.ids.primary_id(known) or known
            if known is None:
                known = self._runtime.router.write(CreateExperiment(name=self.name)).identifier
            self._experiment_id = known
            return known

    def known_ids(self) -> tuple[tuple[str, ...], TransientError | None]:
        """Give the experiment's ids, looked up but never created.

        Returns:
            The ids, provisional ones, too; and why the primary could not be asked, where it had to be.
        """
        with self._lock:
            known = self._experiment_id
        if known is not None and (primary_id := self._runtime.ids.primary_id(known)):
            return tuple({known, primary_id}), None
        own = () if known is None else (known,)
        try:
            found = self._runtime.sources.ask(
                lambda backend: backend.tracking.tracking_find_experiments(
                    self.name, self._runtime.sources.deadline()
                )
            )
        except TransientError as reason:
            return own, reason
        return (*own, *(experiment.experiment_id for experiment in found)), None
