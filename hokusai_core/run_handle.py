"""The handle on one run, which a user logs to."""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hokusai_core import limits, validation
from hokusai_core.batching import split_batch
from hokusai_core.contents import (
    Content,
    content_of_dict,
    content_of_figure,
    content_of_text,
    contents_of_folder,
    contents_of_path,
    local,
)
from hokusai_core.entities import FileInfo, Metric, Run, RunData, RunInfo, SyncState
from hokusai_core.errors import (
    DeadLetterError,
    InvalidInputError,
    JournalUnavailableError,
    NotDeliveredError,
)
from hokusai_core.identifiers import is_provisional
from hokusai_core.logged_models import LoggedModelInfo, ModelLogger
from hokusai_core.operations import (
    TERMINAL_STATUSES,
    ArtifactOwner,
    LogArtifact,
    MetricPoint,
    RunStatus,
    UpdateRun,
    now_milliseconds,
)
from hokusai_core.reading import any_waiting
from hokusai_core.timestamps import PointTimestamps

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime

logger = logging.getLogger("hokusai")

_POLL_SECONDS = 0.05


class RunHandle:
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
        self._runtime = runtime
        self._run_id = run_id
        self._info = info
        self._owner_pid = os.getpid()
        self._copy = False
        self._ended = False
        self._timestamps = PointTimestamps()
        self._lock = threading.Lock()
        self._metrics: dict[str, MetricPoint] = {}
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = dict(tags)
        self._models = ModelLogger(runtime, self._log_contents)
        runtime.snapshots.add(run_id, self)

    def __repr__(self) -> str:
        return f"<RunHandle {self._run_id} {self._info.status}>"

    @property
    def run_id(self) -> str:
        """The run's id. It never changes: a provisional one stays valid for ever as an alias."""
        return self._run_id

    @property
    def info(self) -> RunInfo:
        """What this handle knows of the run, without asking anybody."""
        return self._info

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
        """
        until = time.monotonic() + timeout
        while True:
            state = self.sync_state
            primary_id = self.primary_id
            if state == "delivered" and primary_id:
                return primary_id
            if state == "dead":
                raise DeadLetterError(
                    f"The primary refused the creation of run {self._run_id} for good. See why with "
                    "`hokusai status`."
                )
            if time.monotonic() >= until:
                raise NotDeliveredError(
                    f"Run {self._run_id} is not complete on the primary after {timeout:g} s. "
                    "Everything that waits is kept; deliver it with `hokusai sync`."
                )
            time.sleep(_POLL_SECONDS)

    def log_metric(
        self, key: str, value: Any, step: int | None = None, timestamp: int | None = None
    ) -> None:
        """Log one value of a metric.

        Args:
            key: At most 250 letters, digits, ``_ - . : /`` and spaces.
            value: A number, or an array or tensor of one element; NaN and infinities are values.
            step: A whole number of 64 bits; None is 0.
            timestamp: Milliseconds since 1970; None is now, later than any earlier point of this
                key and step.
        """
        self._write_batch(metrics=[self._point(key, value, step, timestamp)])

    def log_metrics(
        self, metrics: Mapping[str, Any], step: int | None = None, timestamp: int | None = None
    ) -> None:
        """Log several metrics at one step, in as few requests as MLflow's limits allow."""
        points = [
            self._point(key, value, step, timestamp)
            for key, value in validation.mapping(metrics, "metrics").items()
        ]
        self._write_batch(metrics=points)

    def log_param(self, key: str, value: Any) -> None:
        """Log a param. It can be logged again with the same value only.

        Args:
            key: As a metric's.
            value: Turned into text with ``str``; at most 6000 characters (see ``long_values``).
        """
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log several params."""
        checked = {
            validation.key(key, "param"): validation.param_value(value, key)
            for key, value in validation.mapping(params, "params").items()
        }
        self._write_batch(params=self._fitted(checked, "param", limits.PARAM_VALUE_CHARACTERS))

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag; the last value stays.

        Args:
            key: As a metric's.
            value: Turned into text with ``str``; at most 8000 characters (see ``long_values``).
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags."""
        checked = {
            validation.key(key, "tag"): validation.tag_value(value, key)
            for key, value in validation.mapping(tags, "tags").items()
        }
        self._write_batch(tags=self._fitted(checked, "tag", limits.TAG_VALUE_CHARACTERS))

    def log_batch(
        self,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Log metrics, params and tags in one request, within MLflow's limits of one.

        Args:
            metrics: At most 1000 points, with their own steps and timestamps.
            params: At most 100.
            tags: At most 100; all three together at most 1000.

        Raises:
            InvalidInputError: A limit is exceeded, or a value is not allowed.
        """
        given = (len(metrics), len(params or {}), len(tags or {}))
        allowed = (limits.METRICS_PER_REQUEST, limits.PARAMS_PER_REQUEST, limits.TAGS_PER_REQUEST)
        if any(count > most for count, most in zip(given, allowed, strict=True)) or (
            sum(given) > limits.ENTITIES_PER_REQUEST
        ):
            raise InvalidInputError(
                f"A batch of {given[0]} metrics, {given[1]} params and {given[2]} tags is over "
                "MLflow's limits of 1000 metrics, 100 params, 100 tags, and 1000 in all. Split it, "
                "or use log_metrics, log_params and set_tags, which split."
            )
        checked_params = {
            validation.key(key, "param"): validation.param_value(value, key)
            for key, value in (params or {}).items()
        }
        checked_tags = {
            validation.key(key, "tag"): validation.tag_value(value, key)
            for key, value in (tags or {}).items()
        }
        self._write_batch(
            metrics=[
                self._point(point.key, point.value, point.step, point.timestamp)
                for point in metrics
            ],
            params=self._fitted(checked_params, "param", limits.PARAM_VALUE_CHARACTERS),
            tags=self._fitted(checked_tags, "tag", limits.TAG_VALUE_CHARACTERS),
        )

    def log_artifact(self, local_path: str | Path, artifact_path: str | None = None) -> None:
        """Log a local file, or a folder under its own name. The bytes are copied now.

        Args:
            local_path: The file or folder.
            artifact_path: Folder among the run's artifacts; None is the root.
        """
        self._log_contents(self._owner(), list(contents_of_path(local_path, artifact_path)))

    def log_artifacts(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        """Log every file below a local folder."""
        folder = local(local_dir)
        self._log_contents(self._owner(), list(contents_of_folder(folder, artifact_path)))

    def log_dict(self, dictionary: Any, artifact_file: str) -> None:
        """Log a dict or list as a JSON file, or YAML by the name's ending."""
        self._log_contents(self._owner(), [content_of_dict(dictionary, artifact_file)])

    def log_text(self, text: str, artifact_file: str) -> None:
        """Log a text as a UTF-8 file."""
        self._log_contents(self._owner(), [content_of_text(text, artifact_file)])

    def log_figure(self, figure: Any, artifact_file: str) -> None:
        """Log a matplotlib or plotly figure, in the format of the file's name."""
        self._log_contents(self._owner(), [content_of_figure(figure, artifact_file)])

    def log_model(
        self,
        model: Any,
        name: str = "model",
        *,
        flavor: str | None = None,
        signature: Any = None,
        input_example: Any = None,
        pip_requirements: list[str] | None = None,
        registered_model_name: str | None = None,
    ) -> LoggedModelInfo:
        """Save a model with MLflow's flavours and log it, on MLflow 3 as a logged model.

        Args:
            model: A scikit-learn estimator, an MLflow ``PythonModel``, a folder with a saved model,
                a Hokusai-style metadata object, or with ``flavor`` what that flavour saves.
            name: Name of the logged model; no ``/`` or ``:``.
            flavor: Name of an MLflow flavour, where the model does not tell it.
            signature: An MLflow ``ModelSignature``.
            input_example: Rows to derive the signature from.
            pip_requirements: Packages for serving; not given, the flavour's own.
            registered_model_name: Register a version of this model, too.

        Returns:
            The model's URI and ids; these are provisional while ``sync_state`` is ``pending``.

        Raises:
            BackendNotInstalledError: The model's library, or MLflow, is not installed.
        """
        return self._models.log(
            model,
            name,
            run_id=self._run_id,
            experiment_id=self._info.experiment_id,
            flavor=flavor,
            signature=signature,
            input_example=input_example,
            pip_requirements=pip_requirements,
            registered_model_name=registered_model_name,
        )

    def list_artifacts(self, path: str = "") -> tuple[FileInfo, ...]:
        """List one folder of the run's artifacts ("" is the root), with files that still wait."""
        folder = validation.artifact_path(path) if path else ""
        return self._runtime.runs.list_artifacts(self._owner(), self._run_id, folder)

    def download_artifacts(self, path: str = "", dst: str | Path = ".") -> Path:
        """Download a file or folder of the run's artifacts, with files that still wait.

        Args:
            path: Relative to the root; "" is everything.
            dst: Local folder, made if need be.

        Returns:
            The local path of what was asked for.
        """
        target = validation.artifact_path(path) if path else ""
        folder = local(dst)
        folder.mkdir(parents=True, exist_ok=True)
        return self._runtime.runs.download_artifacts(self._owner(), self._run_id, target, folder)

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
        self._runtime.router.write(UpdateRun(run_id=self._run_id, status=status, end_time=end_time))
        self._info = self._info.model_copy(update={"status": status, "end_time": end_time})
        self._ended = status in TERMINAL_STATUSES

    def end(self, status: RunStatus = "FINISHED") -> None:
        """End the run, unless it has ended, or this is a copy or a forked child."""
        if not self._ended and not self._copy and self._owner_pid == os.getpid():
            self.set_status(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
                    metrics={key: point.value for key, point in self._metrics.items()},
                    params=dict(self._params),
                    tags=dict(self._tags),
                ),
                latest_metrics=tuple(self._metrics.values()),
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

    def _owner(self) -> ArtifactOwner:
        return ArtifactOwner(kind="run", id=self._run_id)

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

    def _point(self, key: Any, value: Any, step: Any, timestamp: Any) -> MetricPoint:
        name = validation.key(key, "metric")
        number = validation.metric_value(value, name)
        at_step = validation.step(step, name)
        if timestamp is None:
            time_ms = self._timestamps.next(name, at_step)
        else:
            time_ms = validation.timestamp(timestamp, f"metric {name!r}")
            self._timestamps.seen(name, at_step, time_ms)
        return MetricPoint(key=name, value=number, timestamp=time_ms, step=at_step)

    def _fitted(self, values: dict[str, str], what: str, limit: int) -> dict[str, str]:
        """Apply ``long_values``: cut what is too long and say so, or refuse it."""
        for key, value in values.items():
            if len(value) <= limit:
                continue
            message = (
                f"The value of {what} {key!r} has {len(value)} characters; MLflow keeps {limit}"
            )
            if self._runtime.settings.long_values == "error":
                raise InvalidInputError(f"{message}. Shorten it, or log it as an artifact.")
            logger.warning(
                "%s: the rest is cut off. Log it as an artifact to keep it whole.", message
            )
            values[key] = value[:limit]
        return values

    def _write_batch(
        self,
        metrics: Sequence[MetricPoint] = (),
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        for operation in split_batch(self._run_id, metrics, params, tags):
            self._runtime.router.write(operation)
            with self._lock:
                for point in operation.metrics:
                    known = self._metrics.get(point.key)
                    if known is None or (point.step, point.timestamp) >= (
                        known.step,
                        known.timestamp,
                    ):
                        self._metrics[point.key] = point
                self._params.update(operation.params)
                self._tags.update(operation.tags)

    def _log_contents(
        self, owner: ArtifactOwner, contents: Sequence[Content], rewrite: Sequence[str] = ()
    ) -> None:
        """Log files; those named in ``rewrite`` hold ids that are exchanged on delivery."""
        for content in contents:
            references: tuple[str, ...] = ()
            if content.path in rewrite:
                names = (self._run_id, owner.id)
                references = tuple(name for name in dict.fromkeys(names) if is_provisional(name))
            self._runtime.router.write(
                LogArtifact(
                    run_id=self._run_id,
                    owner=owner,
                    path=content.path,
                    size=content.size,
                    sha256=content.sha256,
                    rewrites_ids=bool(references),
                    content_references=references,
                ),
                content.open,
            )
