"""``ExperimentManager``: experiments and their runs."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

from hokusai_core import improvement, limits, validation
from hokusai_core.comparison.metric_table import (
    CLASSIFICATION_METRICS,
    ComparisonMetric,
    validate_config,
)
from hokusai_core.comparison.recommendation import generate_recommendation
from hokusai_core.comparison.rendering import text_report
from hokusai_core.comparison.result import ModelComparison
from hokusai_core.entities import RunInfo
from hokusai_core.errors import (
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
    TransientError,
)
from hokusai_core.experiment_reads import ExperimentReads
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.long_values import fit
from hokusai_core.operations import (
    PARENT_RUN_TAG,
    RUN_NAME_TAG,
    CreateRun,
    UpdateRun,
    now_milliseconds,
)
from hokusai_core.own_experiment import OwnExperiment
from hokusai_core.resolution import (
    DEFAULT_EXPERIMENT,
    ExperimentConfig,
    select_backends,
    settings_with,
    sort_arguments,
)
from hokusai_core.run_context import context_tags
from hokusai_core.run_handle import RunHandle
from hokusai_core.runtime import Runtime
from hokusai_core.settings import Delivery, Durability, Settings

logger = logging.getLogger("hokusai")

_DESCRIPTION_TAG = "mlflow.note.content"


class ExperimentManager(ExperimentReads):
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

    VALID_METRICS: ClassVar[list[str]] = list(CLASSIFICATION_METRICS)
    """Metrics of a comparison of classifiers, where none are named."""

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
            runtime = own.with_modes(delivery, durability)
        else:
            selection = select_backends(
                settings=settings_with(settings, delivery=delivery, durability=durability),
                tracking_uri=given.tracking_uri,
                backend=backend,
            )
            runtime = Runtime.shared(selection)
        super().__init__(runtime, OwnExperiment(runtime, name))
        self.runtime.observers.add(observers)
        self.config = ExperimentConfig(
            experiment_name=name,
            **{field: getattr(self.runtime.selection, field) for field in _SELECTION_FIELDS},
        )
        self._active = threading.local()
        self._fluent_warnings: set[str] = set()
        self.runtime.forked.add(self)

    def reset_after_fork(self) -> None:
        """Make locks anew: in a forked child, the parent's may be held for ever."""
        self._own.reset_after_fork()

    def __repr__(self) -> str:
        return f"<ExperimentManager {self.experiment_name!r} on {self.runtime.destination}>"

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
            handle = self._create(self._own, run_name or "", checked)
        self._stack().append(handle)
        return handle

    def active_run(self) -> RunHandle | None:
        """Give this thread's innermost run of this manager that has not ended.

        A run whose block was left, or whose end was asked for, is not active, also where the server
        did not let it end.
        """
        stack = self._stack()
        while stack and stack[-1].is_over:
            stack.pop()
        return stack[-1] if stack else None

    @contextmanager
    def start_experiment(self, experiment_name: str | None = None) -> Iterator[RunHandle]:
        """Run a block inside a new run of another experiment, as existing code does.

        The manager, other managers and other threads keep their experiments. Within the block,
        :meth:`active_run` is this run, and the run of another call becomes its child. MLflow's fluent
        calls reach the run where MLflow's own tracking address is this manager's, and a WARNING says
        so where it is not.

        Args:
            experiment_name: Of the run; it is created if need be. None is the manager's own.

        Yields:
            The run, which ends with the block: as FAILED where an exception leaves it.

        Raises:
            InvalidInputError: The name is wrong.
        """
        experiment = self._own
        if experiment_name is not None and experiment_name != self.experiment_name:
            name = validation.experiment_name(experiment_name)
            experiment = OwnExperiment(self.runtime, name)
        parent = self._parent(nested=True, parent_run_id=None)
        handle = self._create(experiment, "", self._first_tags(None, None, parent, None))
        self._stack().append(handle)
        with handle, handle.joined_by_mlflow(self._warn_of_mlflow):
            yield handle

    def create_improvement_experiment(
        self, baseline_model_id: str, contributed_data: Mapping[str, Any]
    ) -> str:
        """Write down that a contribution is to improve a model, as a run of this experiment.

        The run ends at once; resume it with :meth:`start_run` to log more. Inside another run's
        block it becomes a child of that run.

        Args:
            baseline_model_id: The model to be improved.
            contributed_data: ``features`` (rows), optional ``labels`` (as many), and optional
                ``metadata`` with ``dataset_hash`` and ``contributor_id``, "unknown" where missing.

        Returns:
            The run's id, provisional while the server is away.

        Raises:
            InvalidInputError: A value is wrong. Nothing was written.
        """
        return improvement.create_improvement_experiment(self, baseline_model_id, contributed_data)

    def compare_models(
        self,
        baseline_id: str,
        candidate_id: str,
        test_data: Mapping[str, Any],
        *,
        metrics: Sequence[str | ComparisonMetric] | None = None,
        resamples: int = 1000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> ModelComparison:
        """Let two registered models predict the same rows, and compare them by several metrics.

        The figures are kept in a run of this experiment, and so show in the history. Precision,
        recall and F1 are averages over classes, weighted by how often each occurs; a probability of
        at least 0.5 means the second class. What is undefined for these rows is absent from the
        figures, with its reason in ``undefined``.

        Args:
            baseline_id: ``name/version``, ``name@alias``, a ``models:/`` URI, or a model id; also of
                a model that waits for the server.
            candidate_id: Likewise.
            test_data: ``features`` (given to both models as they are), ``labels`` (one for each
                row: numbers or text) and optional ``dataset_name``.
            metrics: Names of metrics or :class:`ComparisonMetric` values; not given, those of
                classifiers, or those of regression (``mae``, ``mape``, ``mse``, ``r2``, ``rmse``)
                where labels are fractional numbers.
            resamples: Samples for the bootstrap interval of each improvement; 0 for no intervals.
            confidence: Of these intervals, above 0 and below 1.
            seed: Of the samples.

        Returns:
            A dict that also prints as a report, and shows as a table and as a plot.

        Raises:
            InvalidInputError: Features, labels and predictions do not fit together, or no metric is
                defined for both models. Nothing was written.
            ModelNotFoundError: There is no such model.
            UnavailableError: The server is away, and has the files of a model.
            BackendNotInstalledError: scikit-learn or MLflow is not installed.
        """
        return improvement.compare_models(
            self, baseline_id, candidate_id, test_data, metrics, resamples, confidence, seed
        )

    def get_experiment_history(self, baseline_model_id: str | None = None) -> list[dict[str, Any]]:
        """List this experiment's improvement experiments and comparisons, newest first.

        Args:
            baseline_model_id: Only those of this baseline, as it was named then.

        Returns:
            For each ``run_id``, ``baseline_model``, ``improvement`` (of the accuracy; None where
            there is none), ``improvements`` (of all metrics), ``recommendation`` ("unknown" where
            nothing was compared) and ``timestamp`` (a datetime in UTC). What waits is included.

        Raises:
            TransientError: The primary is away, and there is no journal to answer from.
        """
        return improvement.experiment_history(self, baseline_model_id)

    def log_artifacts_dict(self, artifacts: Mapping[str, str | Path]) -> None:
        """Log several files of this thread's active run; see :meth:`RunHandle.log_artifacts_dict`.

        Raises:
            InvalidInputError: No run of this manager is active, or a file cannot be read.
        """
        active = self.active_run()
        if active is None:
            raise InvalidInputError(
                "No run of this manager is active in this thread: start one, or use the method of "
                "the same name of a run handle."
            )
        active.log_artifacts_dict(artifacts)

    @staticmethod
    def generate_recommendation(comparison_results: Mapping[str, Any]) -> dict[str, Any]:
        """Say whether to deploy a candidate, and why.

        Args:
            comparison_results: What :meth:`compare_models` returned, or an older result.

        Returns:
            ``should_deploy`` (bool), ``confidence`` ("high", "medium", "low"), ``reasoning``,
            ``improvements_count``, ``regressions_count``. A metric that is worse by more than 0.01
            means no; all improved, or more than half and none regressed, means yes.

        Raises:
            InvalidInputError: It holds no changes of metrics.
        """
        return generate_recommendation(comparison_results)

    @staticmethod
    def validate_config(config: Mapping[str, Any]) -> bool:
        """Check an experiment's configuration: ``test_size`` and ``metrics``, where given.

        Returns:
            True.

        Raises:
            InvalidInputError: ``test_size`` is not between 0 and 1, or a metric is unknown.
        """
        return validate_config(config)

    @staticmethod
    def format_report(comparison_results: Mapping[str, Any]) -> str:
        """Give a comparison as a text of several lines; the same as ``str`` of a result.

        Raises:
            InvalidInputError: It is no result of a comparison.
        """
        return text_report(comparison_results)

    def _warn_of_mlflow(self, reason: str) -> None:
        """Say once for each reason that fluent calls do not reach a run of :meth:`start_experiment`."""
        if reason not in self._fluent_warnings:
            self._fluent_warnings.add(reason)
            logger.warning(
                "mlflow.log_* calls inside start_experiment do not reach its run: %s. Log with the "
                "run that the block yields.",
                reason,
            )

    def _create(self, experiment: OwnExperiment, run_name: str, tags: dict[str, str]) -> RunHandle:
        experiment_id = experiment.get_or_create()
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
