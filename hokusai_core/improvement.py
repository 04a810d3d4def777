"""Improvement experiments: a contribution's run, the comparison of two models, and their history.

Names of params, tags and metrics are those of the existing Hokusai services, which read them.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hokusai_core import limits, validation
from hokusai_core.comparison.metric_table import ComparisonMetric
from hokusai_core.comparison.recommendation import recommend
from hokusai_core.comparison.result import ModelComparison
from hokusai_core.entities import Run
from hokusai_core.errors import InvalidInputError

if TYPE_CHECKING:
    from hokusai_core.comparison.evaluation import Figures
    from hokusai_core.experiments import ExperimentManager

UNKNOWN = "unknown"
"""Stands where a caller told nothing, as existing code expects."""
IMPROVEMENT = "model_improvement"
COMPARISON = "model_comparison"
"""Values of the tag and param ``experiment_type``."""


def create_improvement_experiment(
    manager: "ExperimentManager", baseline_model_id: str, contributed_data: Mapping[str, Any]
) -> str:
    """Write the run of a contribution; see :meth:`ExperimentManager.create_improvement_experiment`."""
    baseline = validation.text(baseline_model_id, "baseline_model_id", empty=False)
    data = validation.mapping(contributed_data, "contributed_data")
    if "features" not in data:
        raise InvalidInputError("contributed_data has no 'features'.")
    size = _rows(data["features"], "contributed_data['features']")
    if data.get("labels") is not None:
        labels = _rows(data["labels"], "contributed_data['labels']")
        if labels != size:
            raise InvalidInputError(
                f"contributed_data has {size} rows of features and {labels} labels."
            )
    metadata = validation.mapping(data.get("metadata"), "contributed_data['metadata']")
    tags = {
        "experiment_type": IMPROVEMENT,
        "baseline_model": baseline,
        "contributor_id": metadata.get("contributor_id", UNKNOWN),
    }
    params = {
        "baseline_model_id": baseline,
        "contributed_data_hash": metadata.get("dataset_hash", UNKNOWN),
        "contributed_data_size": str(size),
        "experiment_type": IMPROVEMENT,
        "created_at": datetime.now(UTC).isoformat(),
    }
    name = f"improvement of {baseline}"[: limits.RUN_NAME_CHARACTERS]
    with manager.start_run(run_name=name, tags=tags, nested=True) as run:
        run.log_params(params)
    return run.run_id


def compare_models(
    manager: "ExperimentManager",
    baseline_id: str,
    candidate_id: str,
    test_data: Mapping[str, Any],
    metrics: Sequence[str | ComparisonMetric] | None,
    resamples: int,
    confidence: float,
    seed: int,
) -> ModelComparison:
    """Compare two models and keep the figures in a run; see :meth:`ExperimentManager.compare_models`."""
    baseline = validation.text(baseline_id, "baseline_id", empty=False)
    candidate = validation.text(candidate_id, "candidate_id", empty=False)
    features, labels, dataset = _test_data(test_data)
    figures = _judge(
        manager, (baseline, candidate), features, labels, metrics, (resamples, confidence, seed)
    )
    result = _result(figures, baseline, candidate, dataset, confidence)
    name = f"{candidate} against {baseline}"[: limits.RUN_NAME_CHARACTERS]
    tags = {
        "experiment_type": COMPARISON,
        "baseline_model": baseline,
        "recommendation": result["recommendation"],
    }
    if result["intervals"]:
        tags["improvement_intervals"] = json.dumps(result["intervals"])
    if result["undefined"]:
        tags["undefined_metrics"] = json.dumps(result["undefined"])
    with manager.start_run(run_name=name, tags=tags, nested=True) as run:
        run.log_params(
            {
                "baseline_model_id": baseline,
                "candidate_model_id": candidate,
                "test_dataset": dataset,
            }
        )
        run.log_metrics(_as_metrics(result))
    result["run_id"] = run.run_id
    result["sync_state"] = run.sync_state
    return result


def experiment_history(
    manager: "ExperimentManager", baseline_model_id: str | None
) -> list[dict[str, Any]]:
    """List experiments and comparisons; see :meth:`ExperimentManager.get_experiment_history`."""
    wanted = None
    if baseline_model_id is not None:
        wanted = validation.text(baseline_model_id, "baseline_model_id", empty=False)
        wanted = wanted[: limits.PARAM_VALUE_CHARACTERS]
    found = manager.search_runs(
        _filter_for(wanted), order_by=["start_time DESC"], max_results=limits.SEARCH_RESULTS
    )
    return [
        _summary(run) for run in found if wanted in (None, run.data.params["baseline_model_id"])
    ]


def _filter_for(baseline: str | None) -> str:
    """Narrow the search as far as a filter can say it: none holds a text with both kinds of quotes."""
    for quote in "'", '"':
        if baseline is not None and quote not in baseline:
            return f"params.baseline_model_id = {quote}{baseline}{quote}"
    return "params.baseline_model_id != ''"


def _judge(
    manager: "ExperimentManager",
    models: tuple[str, str],
    features: Any,
    labels: Any,
    metrics: Sequence[str | ComparisonMetric] | None,
    options: tuple[int, float, int],
) -> "Figures":
    from hokusai_core.comparison.evaluation import IntervalOptions, evaluate
    from hokusai_core.comparison.models import predict

    outputs = (
        predict(manager.runtime, models[0], features),
        predict(manager.runtime, models[1], features),
    )
    return evaluate(labels, outputs, metrics, IntervalOptions(*options))


def _result(
    figures: "Figures", baseline: str, candidate: str, dataset: str, confidence: float
) -> ModelComparison:
    return ModelComparison(
        baseline_id=baseline,
        candidate_id=candidate,
        baseline_metrics=figures.metrics[0],
        candidate_metrics=figures.metrics[1],
        improvements=figures.improvements,
        comparison={
            name: {"delta": change, "improved": change > 0}
            for name, change in figures.improvements.items()
        },
        recommendation=recommend(figures.improvements),
        test_dataset=dataset,
        undefined=figures.undefined,
        intervals={
            name: {"low": one.low, "high": one.high} for name, one in figures.intervals.items()
        },
        confidence=confidence,
        notes=figures.notes,
    )


def _as_metrics(result: ModelComparison) -> dict[str, float]:
    return {
        **{f"baseline_{name}": value for name, value in result["baseline_metrics"].items()},
        **{f"candidate_{name}": value for name, value in result["candidate_metrics"].items()},
        **{f"{name}_improvement": value for name, value in result["improvements"].items()},
    }


def _test_data(test_data: object) -> tuple[Any, Any, str]:
    given = validation.mapping(test_data, "test_data")
    for key in ("features", "labels"):
        if given.get(key) is None:
            raise InvalidInputError(f"test_data has no {key!r}.")
    rows = _rows(given["features"], "test_data['features']")
    labels = _rows(given["labels"], "test_data['labels']")
    if rows != labels:
        raise InvalidInputError(f"test_data has {rows} rows of features and {labels} labels.")
    dataset = validation.text(given.get("dataset_name") or UNKNOWN, "dataset_name")
    return given["features"], given["labels"], dataset


def _rows(values: Any, what: str) -> int:
    """Count the rows of a list, array, DataFrame or sparse matrix."""
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple) and shape:
        return int(shape[0])
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise InvalidInputError(
            f"{what} must be rows (a list, array or DataFrame), not {type(values).__name__}."
        )
    return len(values)


def _summary(run: Run) -> dict[str, Any]:
    metrics = run.data.metrics
    ending = "_improvement"
    started = run.info.start_time
    return {
        "run_id": run.info.run_id,
        "baseline_model": run.data.params["baseline_model_id"],
        "improvement": metrics.get("accuracy_improvement"),
        "improvements": {
            name.removesuffix(ending): value
            for name, value in metrics.items()
            if name.endswith(ending)
        },
        "recommendation": run.data.tags.get("recommendation", UNKNOWN),
        "timestamp": None if started is None else datetime.fromtimestamp(started / 1000, UTC),
    }
