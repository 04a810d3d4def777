"""``ExperimentManager``: experiments and their runs."""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

from hokusai_core import limits, validation
from hokusai_core.entities import FileInfo, Metric, Run, RunInfo
from hokusai_core.errors import (
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
    TransientError,
)
from hokusai_core.identifiers import OP_ID_TAG, is_provisional
from hokusai_core.long_values import fit
from hokusai_core.operations import (
    PARENT_RUN_TAG,
    RUN_NAME_TAG,
    ArtifactOwner,
    CreateExperiment,
    CreateRun,
    UpdateRun,
    now_milliseconds,
)
from hokusai_core.queries import RunQuery, ViewType
from hokusai_core.resolution import (
    DEFAULT_EXPERIMENT,
    ExperimentConfig,
    select_backends,
    settings_with,
    sort_arguments,
)
from hokusai_core.run_context import context_tags
from hokusai_core.run_frame import runs_as_frame
from hokusai_core.run_handle import RunHandle
from hokusai_core.runtime import Runtime
from hokusai_core.settings import Delivery, Durability, Settings

logger = logging.getLogger("hokusai")

_DESCRIPTION_TAG = "mlflow.note.content"


class ExperimentManager:
    """Starts, reads and searches the runs of one experiment.

    Safe to use from several threads. Making one does no I/O: it cannot block or fail because a
    server is away. The experiment is got, or created, with the first run.

    Args:
        registry_or_name: The experiment's name, or a
            :class:`~hokusai_core.registry.ModelRegistry`, whose backends are then shared, or another
            object with registry methods or a ``tracking_uri``.
        mlflow_tracking_uri: Address of the tracking server.
        registry: A registry, beside a name.
        experiment_name: The experiment's name, beside a registry.
        backend: Name of the backend, its plugin, or a mock backend; not given, settings decide.
        settings: All settings; not given, they are read from the environment.
        delivery: ``direct`` or ``queued``; not given, settings decide (``HOKUSAI_DELIVERY``).
        durability: ``machine``, ``process`` or ``relaxed``; not given, settings decide
            (``HOKUSAI_DURABILITY``).
        observers: Are told of what happens to the tracking server, and to what waits for it, in
            this process: see :class:`~hokusai_core.observer_hooks.ObserverHooks`.

    Raises:
        ConfigurationError: An argument or setting is wrong, or a backend cannot be used.
    """

    VALID_METRICS = ("accuracy", "auroc", "f1_score", "precision", "recall")
    """Metrics of a comparison."""

    def __init__(
        self,
        registry_or_name: object = None,
        mlflow_tracking_uri: object = None,
        registry: object = None,
        *,
        experiment_name: object = None,
        backend: object = None,
        settings: Settings | None = None,
        delivery: Delivery | None = None,
        durability: Durability | None = None,
        observers: Iterable[object] = (),
    ) -> None:
        given = sort_arguments(registry_or_name, mlflow_tracking_uri, registry, experiment_name)
        name = given.experiment_name or DEFAULT_EXPERIMENT
        self.registry = given.registry
        own = getattr(given.registry, "runtime", None)
        if isinstance(own, Runtime):
            if backend is not None or settings is not None:
                raise ConfigurationError(
                    "backend= and settings= come from the registry; give them to it instead."
                )
            self.runtime = own.with_modes(delivery, durability)
        else:
            selection = select_backends(
                settings=settings_with(settings, delivery=delivery, durability=durability),
                tracking_uri=given.tracking_uri,
                backend=backend,
            )
            self.runtime = Runtime.shared(selection)
        self.runtime.observers.add(observers)
        self.config = ExperimentConfig(
            experiment_name=name,
            **{field: getattr(self.runtime.selection, field) for field in _SELECTION_FIELDS},
        )
        self._lock = threading.RLock()
        self._experiment_id: str | None = None
        self._active = threading.local()
        self.runtime.forked.add(self)

    def reset_after_fork(self) -> None:
        """Make the lock anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<ExperimentManager {self.experiment_name!r} on {self.runtime.destination}>"

    @property
    def experiment_name(self) -> str:
        """Name of the experiment."""
        return self.config.experiment_name

    @property
    def tracking_uri(self) -> str:
        """Address of the tracking server; its identity where the backend's default is used."""
        return self.config.tracking_uri or self.runtime.destination

    @property
    def mock_mode(self) -> bool:
        """Whether the mock backend is used, as existing code asks it."""
        return self.config.backend == "mock"

    def start_run(
        self,
        run_id: str | None = None,
        *,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        nested: bool = False,
        parent_run_id: str | None = None,
        description: str | None = None,
    ) -> RunHandle:
        """Start a run, or resume one, as MLflow's ``start_run`` does.

        Args:
            run_id: Resume this run: it becomes RUNNING. One that cannot be looked up because the
                server is away is accepted; with ``delivery="queued"`` none is looked up.
            run_name: At most 250 characters; not given, the server makes one up.
            tags: First tags, written with the creation.
            nested: Make it a child of this thread's active run.
            parent_run_id: Make it a child of this run.
            description: Shown in MLflow's UI.

        Returns:
            The run's handle, best used as a context manager.

        Raises:
            InvalidInputError: An argument is wrong, or this thread has an active run of this manager
                and ``nested`` is not set.
            NotFoundError: There is no run with this id.
        """
        parent = self._parent(nested=nested, parent_run_id=parent_run_id)
        checked = self._first_tags(run_name, tags, parent, description)
        if run_id is not None:
            handle = self._resume(validation.run_id(run_id), checked)
        else:
            handle = self._create(run_name or "", checked)
        self._stack().append(handle)
        return handle

    def active_run(self) -> RunHandle | None:
        """Give this thread's innermost run of this manager that has not ended."""
        stack = self._stack()
        while stack and stack[-1].info.status in ("FINISHED", "FAILED", "KILLED"):
            stack.pop()
        return stack[-1] if stack else None

    def get_run(self, run_id: str) -> Run:
        """Get a run: what the primary has, with what waits laid over it.

        Raises:
            NotFoundError: Nobody knows the run.
            TransientError: The primary is away, and nothing is known of the run without it.
        """
        return self.runtime.runs.get_run(validation.run_id(run_id))

    def get_metric_history(self, run_id: str, key: str) -> tuple[Metric, ...]:
        """Get every point of one metric in the order of time, with points that still wait."""
        return self.runtime.runs.metric_history(
            validation.run_id(run_id), validation.key(key, "metric")
        )

    def list_artifacts(self, run_id: str, path: str = "") -> tuple[FileInfo, ...]:
        """List one folder of a run's artifacts ("" is the root), with files that still wait."""
        owner = ArtifactOwner(kind="run", id=validation.run_id(run_id))
        folder = validation.artifact_path(path) if path else ""
        return self.runtime.runs.list_artifacts(owner, run_id, folder)

    def download_artifacts(self, run_id: str, path: str = "", dst: str | Path = ".") -> Path:
        """Download a file or folder of a run's artifacts, with files that still wait."""
        owner = ArtifactOwner(kind="run", id=validation.run_id(run_id))
        target = validation.artifact_path(path) if path else ""
        folder = Path(dst)
        folder.mkdir(parents=True, exist_ok=True)
        return self.runtime.runs.download_artifacts(owner, run_id, target, folder)

    @overload
    def search_runs(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        run_view_type: ViewType = "ACTIVE_ONLY",
        output_format: Literal["list"] = "list",
    ) -> list[Run]: ...

    @overload
    def search_runs(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        run_view_type: ViewType = "ACTIVE_ONLY",
        output_format: Literal["pandas"],
    ) -> Any: ...

    def search_runs(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        run_view_type: ViewType = "ACTIVE_ONLY",
        output_format: Literal["list", "pandas"] = "list",
    ) -> list[Run] | Any:
        """Search the experiment's runs, with runs that still wait; newest first.

        Args:
            filter_string: In MLflow's filter language, such as ``metrics.loss < 0.1``. While
                something waits or the primary is away, only the documented subset works.
            order_by: Such as ``["metrics.loss ASC"]``.
            max_results: At most 50,000.
            run_view_type: ACTIVE_ONLY, DELETED_ONLY or ALL.
            output_format: ``list`` of runs, or ``pandas``: a DataFrame with columns as MLflow's
                (``run_id``, ``metrics.loss``, ``params.lr``, ``tags.stage``).

        Raises:
            UnsupportedFilterError: See ``filter_string``.
            TransientError: The primary is away, and there is no fallback.
        """
        if output_format not in ("list", "pandas"):
            raise InvalidInputError(f"output_format must be list or pandas, not {output_format!r}.")
        most = validation.count(max_results, "max_results", limits.SEARCH_RESULTS)
        query = RunQuery(
            experiment_ids=self._known_experiment_ids(),
            filter_string=validation.text(filter_string, "filter_string"),
            order_by=tuple(order_by),
            view_type=run_view_type,
            max_results=most,
        )
        found = list(self.runtime.runs.search_runs(query, self.experiment_name))
        return found if output_format == "list" else runs_as_frame(found)

    def _create(self, run_name: str, tags: dict[str, str]) -> RunHandle:
        experiment_id = self._experiment()
        start_time = now_milliseconds()
        operation = CreateRun(
            experiment_id=experiment_id,
            run_name=run_name,
            start_time=start_time,
            tags=context_tags() | tags,
        )
        result = self.runtime.router.write(operation)
        known = operation.tags | {OP_ID_TAG: operation.op_id}
        info = RunInfo(
            run_id=result.identifier,
            experiment_id=experiment_id,
            run_name=run_name,
            start_time=start_time,
            user_id=operation.tags.get("mlflow.user", ""),
        )
        return RunHandle(self.runtime, result.identifier, info=info, tags=known)

    def _resume(self, run_id: str, tags: dict[str, str]) -> RunHandle:
        try:
            if self.runtime.settings.delivery == "queued":
                # No call waits for the primary; a run that is not there makes a dead letter.
                info = RunInfo(run_id=run_id, experiment_id="")
            else:
                info = self.runtime.runs.get_run(run_id).info
        except TransientError:
            # It cannot be checked now; whoever has its id has seen it.
            info = RunInfo(run_id=run_id, experiment_id="")
        if info.lifecycle_stage == "deleted":
            raise NotFoundError(f"Run {run_id} is deleted; restore it to resume it.")
        info = info.model_copy(update={"run_id": run_id, "status": "RUNNING", "end_time": None})
        handle = RunHandle(self.runtime, run_id, info=info, tags={})
        self.runtime.router.write(UpdateRun(run_id=run_id, status="RUNNING"))
        if tags:
            handle.set_tags(tags)
        return handle

    def _first_tags(
        self,
        run_name: str | None,
        tags: Mapping[str, Any] | None,
        parent_run_id: str | None,
        description: str | None,
    ) -> dict[str, str]:
        checked = {
            validation.key(key, "tag"): validation.tag_value(value, key)
            for key, value in validation.mapping(tags, "tags").items()
        }
        if run_name is not None:
            checked[RUN_NAME_TAG] = validation.text(
                run_name, "The run name", limit=limits.RUN_NAME_CHARACTERS, empty=False
            )
        if description is not None:
            checked[_DESCRIPTION_TAG] = validation.text(description, "The description")
        if parent_run_id is not None:
            checked[PARENT_RUN_TAG] = parent_run_id
        return fit(checked, "tag", limits.TAG_VALUE_CHARACTERS, self.runtime.settings)

    def _parent(self, *, nested: bool, parent_run_id: str | None) -> str | None:
        active = self.active_run()
        if parent_run_id is not None:
            return validation.run_id(parent_run_id)
        if active is None:
            return None
        if not nested:
            raise InvalidInputError(
                f"Run {active.run_id} of this manager is active in this thread. End it first "
                "(run.end(), or use `with`), or pass nested=True to start a child of it."
            )
        return active.run_id

    def _experiment(self) -> str:
        """Get or create the experiment; remembers its id, which may be provisional."""
        with self._lock:
            known = self._experiment_id
            if known is not None and is_provisional(known):
                known = self.runtime.ids.primary_id(known) or known
            if known is None:
                result = self.runtime.router.write(CreateExperiment(name=self.experiment_name))
                known = result.identifier
            self._experiment_id = known
            return known

    def _known_experiment_ids(self) -> tuple[str, ...]:
        """Give the experiment's id on the primary, looked up but never created."""
        with self._lock:
            known = self._experiment_id
        if known is not None:
            primary_id = self.runtime.ids.primary_id(known)
            return tuple(filter(None, {known, primary_id}))
        try:
            found = self.runtime.sources.ask(
                lambda backend: backend.tracking.tracking_find_experiments(
                    self.experiment_name, self.runtime.sources.deadline()
                )
            )
        except TransientError:
            return ()
        return tuple(experiment.experiment_id for experiment in found)

    def _stack(self) -> list[RunHandle]:
        stack = getattr(self._active, "runs", None)
        if stack is None:
            stack = self._active.runs = []
        return cast("list[RunHandle]", stack)


_SELECTION_FIELDS = (
    "backend",
    "fallback",
    "fallback_asked",
    "tracking_uri",
    "registry_uri",
    "settings",
    "plugin",
)
