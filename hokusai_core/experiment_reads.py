"""The part of a manager that reads and searches runs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, overload

from hokusai_core import limits, validation
from hokusai_core.contents import local
from hokusai_core.entities import FileInfo, Metric, Run
from hokusai_core.errors import InvalidInputError
from hokusai_core.operations import ArtifactOwner
from hokusai_core.own_experiment import OwnExperiment
from hokusai_core.queries import RunQuery, ViewType
from hokusai_core.run_frame import runs_as_frame
from hokusai_core.runtime import Runtime

_VIEW_TYPES: tuple[ViewType, ...] = get_args(ViewType)
"""In the order of MLflow's ``ViewType``, whose values are 1, 2 and 3."""


class ExperimentReads:
    """Reads runs by their ids, and searches those of one experiment.

    Args:
        runtime: The machinery.
        experiment: The experiment.
    """

    def __init__(self, runtime: Runtime, experiment: OwnExperiment) -> None:
        self.runtime = runtime
        self._own = experiment

    @property
    def experiment_name(self) -> str:
        """Name of the experiment."""
        return self._own.name

    def get_run(self, run_id: str) -> Run:
        """Get a run: what the primary has, with what waits laid over it.

        Raises:
            NotFoundError: Nobody knows the run.
            TransientError: The primary is away, and nothing is known of the run without it.
        """
        return self.runtime.runs.get_run(validation.run_id(run_id))

    def get_metric_history(self, run_id: str, key: str) -> tuple[Metric, ...]:
        """Get every point of one metric in the order of time, with points that still wait.

        Where the primary is away, a WARNING says that only points known here are given.

        Raises:
            TransientError: The primary is away, and no point is known without it.
        """
        return self.runtime.runs.metric_history(
            validation.run_id(run_id), validation.key(key, "metric")
        )

    def list_artifacts(self, run_id: str, path: str = "") -> tuple[FileInfo, ...]:
        """List one folder of a run's artifacts ("" is the root), with files that still wait.

        Where the primary is away, a WARNING says that only files that wait are given.

        Raises:
            TransientError: The primary is away, and no file of the folder waits.
        """
        owner = ArtifactOwner(kind="run", id=validation.run_id(run_id))
        folder = validation.plain_path(path) if path else ""
        return self.runtime.runs.list_artifacts(owner, run_id, folder)

    def download_artifacts(self, run_id: str, path: str = "", dst: str | Path = ".") -> Path:
        """Download a file or folder of a run's artifacts, with files that still wait.

        Where the primary is away, a WARNING says that a folder holds only files that wait.

        Raises:
            InvalidInputError: ``dst`` is no folder, and none can be made there.
            NotFoundError: There is no such artifact.
            TransientError: The primary is away, and has what was asked for.
        """
        owner = ArtifactOwner(kind="run", id=validation.run_id(run_id))
        target = validation.plain_path(path) if path else ""
        return self.runtime.runs.download_artifacts(owner, run_id, target, local(dst))

    @overload
    def search_runs(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] | str | None = (),
        max_results: int = 1000,
        run_view_type: ViewType | int = "ACTIVE_ONLY",
        output_format: Literal["list"] = "list",
    ) -> list[Run]: ...

    @overload
    def search_runs(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] | str | None = (),
        max_results: int = 1000,
        run_view_type: ViewType | int = "ACTIVE_ONLY",
        output_format: Literal["pandas"],
    ) -> Any: ...

    def search_runs(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] | str | None = (),
        max_results: int = 1000,
        run_view_type: ViewType | int = "ACTIVE_ONLY",
        output_format: Literal["list", "pandas"] = "list",
    ) -> list[Run] | Any:
        """Search the experiment's runs, with what still waits; newest first.

        Where the primary is away, a WARNING says that the list holds only runs known here.

        Args:
            filter_string: In MLflow's filter language, such as ``metrics.loss < 0.1``. While
                something waits or the primary is away, only the documented subset works.
            order_by: Such as ``["metrics.loss ASC"]``; one alone may be a string.
            max_results: At most 50,000.
            run_view_type: ACTIVE_ONLY, DELETED_ONLY or ALL, or the same of MLflow's ``ViewType``.
            output_format: ``list`` of runs, or ``pandas``: a DataFrame with columns as MLflow's
                (``run_id``, ``metrics.loss``, ``params.lr``, ``tags.stage``).

        Raises:
            InvalidInputError: An argument is wrong.
            UnsupportedFilterError: See ``filter_string``.
            TransientError: The primary is away, and there is no fallback.
        """
        if output_format not in ("list", "pandas"):
            raise InvalidInputError(f"output_format must be list or pandas, not {output_format!r}.")
        most = validation.count(max_results, "max_results", limits.SEARCH_RESULTS)
        experiment_ids, failure = self._own.known_ids()
        query = RunQuery(
            experiment_ids=experiment_ids,
            filter_string=validation.text(filter_string, "filter_string"),
            order_by=_orders(order_by),
            view_type=_view_type(run_view_type),
            max_results=most,
        )
        found = list(self.runtime.runs.search_runs(query, self.experiment_name, failure))
        return found if output_format == "list" else runs_as_frame(found)


def _orders(order_by: Any) -> tuple[str, ...]:
    """Check ``order_by``: a list of strings, one of them alone, or None for none."""
    if order_by is None:
        return ()
    if isinstance(order_by, str):
        return (order_by,)
    if isinstance(order_by, bytes | Mapping) or not isinstance(order_by, Iterable):
        raise InvalidInputError(
            "order_by must be a list of strings such as 'metrics.loss ASC', not "
            f"{type(order_by).__name__}."
        )
    return tuple(validation.text(each, "An entry of order_by") for each in order_by)


def _view_type(given: Any) -> ViewType:
    """Check a view type; MLflow's numbers are understood."""
    for number, name in enumerate(_VIEW_TYPES, start=1):
        if given == name or (type(given) is int and given == number):
            return name
    raise InvalidInputError(
        f"run_view_type must be {', '.join(_VIEW_TYPES[:-1])} or {_VIEW_TYPES[-1]}, or one of MLflow's "
        f"ViewType, not {given!r}."
    )
