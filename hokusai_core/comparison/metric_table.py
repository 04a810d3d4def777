"""The metrics of a comparison: their names, what they need, and which direction is better."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hokusai_core import validation
from hokusai_core.errors import InvalidInputError

Need = Literal["labels", "scores", "values"]
"""What a metric is computed from: predicted labels, scores or probabilities, or numbers."""

CLASSIFICATION_METRICS = ("accuracy", "auroc", "f1_score", "precision", "recall")
"""The metrics of a comparison where none are named and the labels are classes."""
REGRESSION_METRICS = ("mae", "mape", "mse", "r2", "rmse")
"""The metrics of a comparison where none are named and the labels are fractional numbers."""


@dataclass(frozen=True)
class ComparisonMetric:
    """A metric for :meth:`ExperimentManager.compare_models`, beside those known by name.

    Args:
        name: As a metric's key.
        higher_is_better: The direction of improvement.
        function: Called with the true labels and the model's predictions, as arrays of the same
            length; returns a number, NaN where the metric is undefined for them.
        needs: What the predictions are: ``labels`` (probabilities are cut at 0.5; text stays text),
            ``scores`` (one number for each row, higher for the second class in sorted order; the
            true labels are then 0 and 1), or ``values`` (numbers as the model gives them).
    """

    name: str
    higher_is_better: bool = True
    function: Callable[[Any, Any], float] | None = None
    needs: Need = "labels"

    def improvement(self, baseline: float, candidate: float) -> float:
        """Give by how much the candidate is better; negative where it is worse."""
        return candidate - baseline if self.higher_is_better else baseline - candidate


METRICS: Mapping[str, ComparisonMetric] = {
    metric.name: metric
    for metric in (
        ComparisonMetric("accuracy"),
        ComparisonMetric("auroc", needs="scores"),
        ComparisonMetric("f1_score"),
        ComparisonMetric("precision"),
        ComparisonMetric("recall"),
        ComparisonMetric("mae", higher_is_better=False, needs="values"),
        ComparisonMetric("mape", higher_is_better=False, needs="values"),
        ComparisonMetric("mse", higher_is_better=False, needs="values"),
        ComparisonMetric("r2", needs="values"),
        ComparisonMetric("rmse", higher_is_better=False, needs="values"),
    )
}
"""Every metric that is known by name."""


def metrics_named(wanted: Sequence[str | ComparisonMetric]) -> tuple[ComparisonMetric, ...]:
    """Give the metrics that a caller names or brings along.

    Raises:
        InvalidInputError: One is unknown or named twice, or there are none.
    """
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not wanted:
        raise InvalidInputError(
            f"metrics must be a list of names or ComparisonMetric values, not {wanted!r}."
        )
    found = tuple(_metric(one) for one in wanted)
    names = [metric.name for metric in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"The metric {name!r} is named twice.")
    return found


def _metric(wanted: object) -> ComparisonMetric:
    if isinstance(wanted, ComparisonMetric):
        validation.key(wanted.name, "metric")
        if wanted.function is None and METRICS.get(wanted.name) != wanted:
            raise InvalidInputError(f"The metric {wanted.name!r} has no function.")
        return wanted
    if isinstance(wanted, str) and wanted in METRICS:
        return METRICS[wanted]
    raise InvalidInputError(
        f"{wanted!r} is not a metric of a comparison. Known are {', '.join(METRICS)}; for another "
        "one pass a ComparisonMetric with its function and direction."
    )


def validate_config(config: Mapping[str, Any]) -> Literal[True]:
    """Check the configuration of an experiment: ``test_size`` and ``metrics``, where given.

    Returns:
        True, as existing code expects.

    Raises:
        InvalidInputError: ``test_size`` is no number above 0 and below 1, or a metric is unknown.
    """
    given = validation.mapping(config, "The configuration")
    if "test_size" in given:
        size = given["test_size"]
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < 1:
            raise InvalidInputError(f"test_size must be between 0 and 1, not {size!r}.")
    if given.get("metrics"):
        metrics_named(given["metrics"])
    return True
