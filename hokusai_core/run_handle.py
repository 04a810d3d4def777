"""The handle on one run, which a user logs to."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hokusai_core import fluent, limits, validation
from hokusai_core.addresses import without_credentials
from hokusai_core.entities import Run, RunData, RunInfo, SyncState
from hokusai_core.errors import (
    ConfigurationError,
    DeadLetterError,
    InvalidInputError,
    JournalUnavailableError,
    NotDeliveredError,
)
from hokusai_core.identifiers import is_provisional
from hokusai_core.operations import (
    TERMINAL_STATUSES,
    MetricPoint,
    RunStatus,
    UpdateRun,
    now_milliseconds,
)
from hokusai_core.reading import any_waiting
from hokusai_core.run_files import RunFiles
from hokusai_core.run_values import RunValues

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime

logger = logging.getLogger("hokusai")

_POLL_SECONDS = 0.05


class RunHandle(RunValues, RunFiles):
    """A run that is being written. Get one from :meth:`ExperimentManager.start_run`.

    Safe to use from several threads. As a context manager it ends the run when the block is left:
    as FINISHED, or as FAILED where an exception leaves it, which goes on unchanged. In a forked
    child, and as a copy made by pickle, it goes on logging but never ends the run.

    Every method that logs checks its arguments first (:class:`InvalidInputError`, nothing written),
    and then writes to the primary, or durably to the journal while that is away. It raises
    :class:`PermanentError` where the primary refuses, and :class:`NotStoredError` where neither
    primary nor journal nor spool took it.
    """

    def __init__(
        self, runtime: "Runtime", run_id: str, *, info: RunInfo, tags: Mapping[str, str]
    ) -> None:
        RunValues.__init__(self, runtime, run_id, tags)
        RunFiles.__init__(self, runtime, run_id, info.experiment_id)
        self._info = info
        self._owner_pid = os.getpid()
        self._copy = False
        self._ended = False
        self._over = False
        self._fluent_at_entry: str | None = None
        runtime.snapshots.add(run_id, self)
        runtime.forked.add(self)

    def __repr__(self) -> str:
        return f"<RunHandle {self._run_id} {self._info.status}>"

    @property
    def info(self) -> RunInfo:
        """What this handle knows of the run, without asking anybody."""
        return self._info

    @property
    def is_over(self) -> bool:
        """Whether the run ended, its end was asked for, or its block was left: it is not active."""
        return self._over

    @property
    def primary_id(self) -> str | None:
        """The primary's id of the run; None until it was delivered."""
        return self._runtime.ids.primary_id(self._run_id)

    @property
    def sync_state(self) -> SyncState:
        """``delivered``, ``pending`` while anything of the run waits, or ``dead``.

        ``dead``: the primary refused a waiting creation of the run for good.
        """
        streams = self._streams()
        if not is_provisional(self._run_id) and not any(
            self._runtime.streams.is_queued(stream) for stream in streams
        ):
            return "delivered"
        fallback = self._runtime.fallback
        if fallback is None:
            return "delivered"
        try:
            if not fallback.unsettled(streams):
                return "delivered" if self.primary_id else "dead"
        except JournalUnavailableError:
            return "pending"
        return "dead" if self._creation_is_dead() else "pending"

    def wait(self, timeout: float = 60.0) -> str:
        """Wait until everything of the run is on the primary.

        Args:
            timeout: In seconds.

        Returns:
            The primary's id of the run.

        Raises:
            NotDeliveredError: Time is up; what waits is kept.
            DeadLetterError: The primary refused the run's creation for good.
            InvalidInputError: The timeout is not a number.
        """
        until = time.monotonic() + validation.seconds(timeout, "timeout")
        self._runtime.hurry()
        while True:
            state = self.sync_state
            primary_id = self.primary_id
            if state == "delivered" and primary_id:
                return primary_id
            if state == "dead":
                raise DeadLetterError(
                    f"The primary refused the creation of run {self._run_id} for good. It is "
                    "kept in the journal, with all that was logged: `hokusai queue list` tells why."
                )
            if time.monotonic() >= until:
                raise NotDeliveredError(
                    f"Run {self._run_id} is not complete on the primary after {timeout:g} s. "
                    "Everything that waits is kept; deliver it with `hokusai sync`."
                )
            time.sleep(_POLL_SECONDS)

    def get(self) -> Run:
        """Read the run back: what the primary has, and what waits laid over it."""
        return self._runtime.runs.get_run(self._run_id)

    def set_name(self, run_name: str) -> None:
        """Rename the run; at most 250 characters."""
        name = validation.text(
            run_name, "The run name", limit=limits.RUN_NAME_CHARACTERS, empty=False
        )
        self._runtime.router.write(UpdateRun(run_id=self._run_id, run_name=name))
        self._info = self._info.model_copy(update={"run_name": name})

    def set_status(self, status: RunStatus, end_time: int | None = None) -> None:
        """Set the run's status.

        Args:
            status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED; the last three end the run.
            end_time: Milliseconds since 1970; None is now, where the status ends the run.
        """
        if status not in (*TERMINAL_STATUSES, "RUNNING", "SCHEDULED"):
            raise InvalidInputError(
                f"{status!r} is not a run status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED."
            )
        if end_time is not None:
            end_time = validation.timestamp(end_time, "the run's end")
        elif status in TERMINAL_STATUSES:
            end_time = now_milliseconds()
        # Also where the write fails: a run that cannot end must not stand in the way of the next one.
        self._over = status in TERMINAL_STATUSES
        self._runtime.router.write(UpdateRun(run_id=self._run_id, status=status, end_time=end_time))
        self._info = self._info.model_copy(update={"status": status, "end_time": end_time})
        self._ended = self._over

    def end(self, status: RunStatus = "FINISHED") -> None:
        """End the run, unless it has ended, or this is a copy or a forked child.

        It is no longer the active run of its thread, also where this raises.
        """
        if not self._ended and not self._copy and self._owner_pid == os.getpid():
            self.set_status(status)

    @contextmanager
    def as_mlflow(self) -> Iterator[Self]:
        """Let MLflow's own calls reach this run inside a block: ``mlflow.log_*`` and autologging.

        For this thread the run becomes MLflow's active one. If MLflow's own tracking address is
        another server, it is set for the block, for the whole process. These calls go to the server
        as MLflow sends them, with MLflow's credentials: Hokusai neither bounds nor keeps them when it
        is away.

        Raises:
            NotDeliveredError: The run waits for the server, so MLflow cannot reach it yet.
            ConfigurationError: The backend is not MLflow, or MLflow is not installed.
        """
        address = self._runtime.mlflow_address()
        if not address:
            raise ConfigurationError(
                f"MLflow's own calls cannot reach run {self._run_id}: its backend is not MLflow."
            )
        if self.primary_id is None:
            raise NotDeliveredError(
                f"Run {self._run_id} still waits for the server, so MLflow's own calls cannot reach "
                "it. Log with the run handle, or call wait() first."
            )
        with fluent.activated(self._as_known_by_primary(), address):
            yield self

    @contextmanager
    def joined_by_mlflow(self, warn: Callable[[str], None]) -> Iterator[None]:
        """Make the run MLflow's active one for a block where MLflow's own calls can reach it anyway.

        Nothing happens where MLflow is not loaded. Nothing of MLflow is changed but this thread's
        active run.

        Args:
            warn: Called with the reason where they cannot reach it.
        """
        used = fluent.tracking_uri()
        address = self._runtime.mlflow_address()
        reason = ""
        if used is None:
            yield
            return
        if not address:
            reason = "the backend is not MLflow"
        elif self._runtime.mlflow_address(used) != address:
            reason = f"MLflow's own tracking address is {without_credentials(used)}"
        elif self.primary_id is None:
            reason = "the server is away, and the run waits for it"
        if reason:
            warn(reason)
            yield
            return
        with fluent.activated(self._as_known_by_primary(), used):
            yield

    def __enter__(self) -> Self:
        self._fluent_at_entry = fluent.active_run_id()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        fluent.warn_of_other_run(self.primary_id or self._run_id, self._fluent_at_entry)
        if error is None:
            self.end("FINISHED")
            return
        try:
            self.end("FAILED")
        except Exception:
            # The user's exception is on its way out, and must not be replaced.
            logger.exception("Run %s could not be ended as FAILED.", self._run_id)

    def known_run(self) -> Run:
        """Give what this handle wrote, for reads while the primary is away."""
        with self._lock:
            return Run(
                info=self._info,
                data=RunData(
                    metrics={key: value for key, (_, _, value) in self._metrics.items()},
                    params=dict(self._params),
                    tags=dict(self._tags),
                ),
                latest_metrics=tuple(
                    MetricPoint(key=key, value=value, timestamp=timestamp, step=step)
                    for key, (step, timestamp, value) in self._metrics.items()
                ),
                source="fallback",
                complete=False,
            )

    def __getstate__(self) -> dict[str, Any]:
        """Pickle as configuration without secrets, and the id."""
        return {
            "selection": self._runtime.portable_selection(),
            "run_id": self._run_id,
            "info": self._info,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        from hokusai_core.runtime import Runtime

        runtime = Runtime.from_portable(state["selection"])
        self.__init__(runtime, state["run_id"], info=state["info"], tags={})  # type: ignore[misc]
        self._copy = True

    def _as_known_by_primary(self) -> RunInfo:
        ids = self._runtime.ids
        experiment_id = self._info.experiment_id
        known = {
            "run_id": self.primary_id or self._run_id,
            "experiment_id": ids.primary_id(experiment_id) or experiment_id,
        }
        return self._info.model_copy(update=known)

    def _streams(self) -> tuple[str, ...]:
        names = {self._run_id, self._runtime.ids.provisional_id(self._run_id) or self._run_id}
        return tuple(
            f"{prefix}/{name}" for name in sorted(names) for prefix in ("run", "artifacts")
        )

    def _creation_is_dead(self) -> bool:
        if not is_provisional(self._run_id):
            return False
        entries = self._runtime.run_entries(self._run_id, kinds=("create_run",))
        return bool(entries) and not any_waiting(entries) and self.primary_id is None
