"""Judges two models' predictions for the same rows, by each of the metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hokusai_core import validation
from hokusai_core.comparison import ranking, regression
from hokusai_core.comparison.arrays import Array, as_column, is_fractional, is_text
from hokusai_core.comparison.bootstrap import Interval
from hokusai_core.comparison.classification import CountedRows
from hokusai_core.comparison.metric_table import (
    CLASSIFICATION_METRICS,
    METRICS,
    REGRESSION_METRICS,
    ComparisonMetric,
    metrics_named,
)
from hokusai_core.comparison.predictions import Predictions, read_predictions, read_values
from hokusai_core.errors import BackendNotInstalledError, InvalidInputError

SIDES = ("baseline", "candidate")

_COUNTED = ("accuracy", "f1_score", "precision", "recall")


@dataclass(frozen=True)
class ModelOutput:
    """What a model gave for the rows: predictions, and probabilities where it has them besides.

    ``no_scores`` says why it has none, where it should.
    """

    predictions: Any
    scores: Any = None
    score_classes: Sequence[Any] = ()
    no_scores: str = ""


@dataclass(frozen=True)
class IntervalOptions:
    """How intervals are computed.

    Args:
        resamples: How many samples; 0 for no intervals.
        confidence: Above 0 and below 1.
        seed: Of the random numbers: the same seed gives the same intervals.
    """

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def check(self) -> None:
        """Refuse what makes no interval.

        Raises:
            InvalidInputError: A value is wrong.
        """
        if self.resamples:
            validation.count(self.resamples, "resamples", 100_000)
        if isinstance(self.confidence, bool) or not 0 < self.confidence < 1:
            raise InvalidInputError(f"confidence must be between 0 and 1, not {self.confidence!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InvalidInputError(f"seed must be a whole number from 0, not {self.seed!r}.")


@dataclass
class Figures:
    """The numbers of a comparison; what is undefined is absent from them and has its reason.

    Args:
        metrics: Of the baseline and of the candidate, by name.
        improvements: By metric; positive is better.
        undefined: By metric, why it is undefined, for which model.
        intervals: By metric, the interval of its improvement.
        notes: What to know about a number, by metric.
    """

    metrics: tuple[dict[str, float], dict[str, float]] = field(default_factory=lambda: ({}, {}))
    improvements: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def evaluate(
    labels: Any,
    outputs: tuple[ModelOutput, ModelOutput],
    metrics: Sequence[str | ComparisonMetric] | None = None,
    options: IntervalOptions | None = None,
) -> Figures:
    """Judge two models' predictions.

    Args:
        labels: The true labels or numbers of the rows.
        outputs: Of the baseline and of the candidate, for the same rows.
        metrics: Which metrics; None for those that fit the labels.
        options: Of the intervals.

    Raises:
        InvalidInputError: Labels and predictions do not fit together, hold missing values, or none
            of the metrics is defined for both models.
        BackendNotInstalledError: scikit-learn is not installed.
    """
    _require_sklearn()
    options = options or IntervalOptions()
    options.check()
    truth = as_column(labels, "The labels")
    return _Evaluation(truth, outputs, _chosen(metrics, truth), options).run()


class _Evaluation:
    def __init__(
        self,
        labels: Array,
        outputs: tuple[ModelOutput, ModelOutput],
        metrics: tuple[ComparisonMetric, ...],
        options: IntervalOptions,
    ) -> None:
        self._labels = labels
        self._outputs = outputs
        self._chosen = metrics
        self._options = options
        self._random = np.random.default_rng(options.seed)
        self._reasons: dict[str, dict[str, str]] = {}
        self._values: dict[tuple[int, str], float] = {}
        self._found = Figures()

    def run(self) -> Figures:
        """Compute everything, in the order in which the metrics were named."""
        self._classify([metric for metric in self._chosen if metric.needs != "values"])
        self._regress([metric for metric in self._chosen if metric.needs == "values"])
        for metric in self._chosen:
            for side in range(len(SIDES)):
                if (side, metric.name) in self._values:
                    self._found.metrics[side][metric.name] = self._values[side, metric.name]
            if metric.name in self._reasons:
                self._found.undefined[metric.name] = _told(self._reasons[metric.name])
            else:
                self._found.improvements[metric.name] = metric.improvement(
                    *(values[metric.name] for values in self._found.metrics)
                )
        if not self._found.improvements:
            reasons = "; ".join(f"{name}: {why}" for name, why in self._found.undefined.items())
            raise InvalidInputError(f"No metric is defined for both models: {reasons}.")
        return self._found

    def _classify(self, metrics: list[ComparisonMetric]) -> None:
        if not metrics:
            return
        read = [
            read_predictions(
                output.predictions,
                self._labels,
                _named(side),
                output.scores,
                output.score_classes,
                output.no_scores,
            )
            for side, output in enumerate(self._outputs)
        ]
        names = [metric.name for metric in metrics if metric.function is None]
        self._count([name for name in names if name in _COUNTED], read)
        if "auroc" in names:
            self._rank(read)
        for metric in metrics:
            if metric.function is not None:
                self._apply(metric, [_wanted(metric, self._labels, one) for one in read])

    def _count(self, names: list[str], read: list[Predictions]) -> None:
        defined = [one for one in read if one.labels is not None]
        for side, one in enumerate(read):
            if one.labels is None:
                for name in names:
                    self._undefined(name, side, one.no_labels)
        if not names or not defined:
            return
        # A model without labels takes the other's place, whose numbers alone are kept.
        columns = [one.labels if one.labels is not None else defined[0].labels for one in read]
        counted = CountedRows(self._labels, *(column for column in columns if column is not None))
        for side, one in enumerate(read):
            if one.labels is None:
                continue
            for name, value in counted.metrics(side).items():
                if name in names:
                    self._values[side, name] = value
            if "precision" in names and (missed := counted.never_predicted(side)):
                self._note(
                    "precision",
                    f"The {SIDES[side]} never predicts {missed} of the classes; each counts with a "
                    "precision of 0.",
                )
        if len(defined) == len(SIDES):
            self._add_intervals(names, counted.intervals)

    def _rank(self, read: list[Predictions]) -> None:
        for side, one in enumerate(read):
            if reason := ranking.undefined_reason(self._labels, one):
                self._undefined("auroc", side, reason)
            else:
                self._values[side, "auroc"] = ranking.auroc(self._labels, one)
        if "auroc" not in self._reasons:
            self._add_intervals(
                ["auroc"],
                lambda *options: {
                    "auroc": ranking.auroc_interval(self._labels, read[0], read[1], *options)
                },
            )

    def _regress(self, metrics: list[ComparisonMetric]) -> None:
        if not metrics:
            return
        values = [
            read_values(output.predictions, self._labels, _named(side))
            for side, output in enumerate(self._outputs)
        ]
        truth = self._labels.astype(np.float64)
        defined = []
        for metric in metrics:
            if metric.function is not None:
                self._apply(metric, [(truth, one, "") for one in values])
            elif reason := regression.undefined_reason(metric.name, truth):
                for side in range(len(SIDES)):
                    self._undefined(metric.name, side, reason)
            else:
                for side, one in enumerate(values):
                    value = regression.regression_metric(metric.name, truth, one)
                    self._keep(metric.name, side, value)
                defined.append(metric.name)
        names = [name for name in defined if name not in self._reasons]
        if names:
            self._add_intervals(
                names,
                lambda *options: regression.regression_intervals(
                    names, truth, values[0], values[1], *options
                ),
            )

    def _apply(self, metric: ComparisonMetric, given: list[tuple[Any, Any, str]]) -> None:
        if metric.function is None:
            return
        for side, (truth, predicted, reason) in enumerate(given):
            if reason:
                self._undefined(metric.name, side, reason)
                continue
            value = metric.function(truth, predicted)
            self._keep(metric.name, side, validation.metric_value(value, metric.name))
        self._note(metric.name, "Intervals are computed for the metrics known by name only.")

    def _keep(self, name: str, side: int, value: float) -> None:
        if np.isfinite(value):
            self._values[side, name] = value
        else:
            self._undefined(name, side, f"its function gives {value}")

    def _undefined(self, name: str, side: int, reason: str) -> None:
        self._reasons.setdefault(name, {})[SIDES[side]] = reason

    def _note(self, name: str, text: str) -> None:
        known = self._found.notes.get(name)
        self._found.notes[name] = f"{known} {text}" if known and text not in known else text

    def _add_intervals(self, names: list[str], compute: Any) -> None:
        options = self._options
        if not options.resamples:
            return
        found: Mapping[str, Interval | None] = compute(
            options.resamples, options.confidence, self._random
        )
        for name in names:
            one = found.get(name)
            if one is not None:
                self._found.intervals[name] = one
            else:
                self._note(name, "These rows give no interval: too few of a class, or too many.")


def _chosen(
    metrics: Sequence[str | ComparisonMetric] | None, labels: Array
) -> tuple[ComparisonMetric, ...]:
    if metrics is not None:
        return metrics_named(metrics)
    numbers = not is_text(labels) and is_fractional(labels)
    names = REGRESSION_METRICS if numbers else CLASSIFICATION_METRICS
    return tuple(METRICS[name] for name in names)


def _wanted(
    metric: ComparisonMetric, labels: Array, read: Predictions
) -> tuple[Array, Array | None, str]:
    if metric.needs == "labels":
        return labels, read.labels, read.no_labels
    if read.scores is not None and read.scores.ndim > 1:
        return labels, None, "its function takes one score for each row, and there are several"
    positive = (labels == read.known[-1]).astype(np.int64)
    return positive, read.scores, read.no_scores


def _named(side: int) -> str:
    return f"The {SIDES[side]}'s predictions"


def _told(reasons: dict[str, str]) -> str:
    if len(reasons) == len(SIDES) and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{side}: {reason}" for side, reason in reasons.items())


def _require_sklearn() -> None:
    try:
        import sklearn.metrics  # noqa: F401 - asked for once, so that the message is one
    except ImportError as cause:
        raise BackendNotInstalledError(
            "Comparing models needs scikit-learn: pip install 'hokusai-tracking[ml]'."
        ) from cause
