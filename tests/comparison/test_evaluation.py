"""The metrics are scikit-learn's; what is undefined has a reason in the place of a number."""

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from hokusai_core import ComparisonMetric, InvalidInputError
from hokusai_core.comparison.evaluation import Figures, IntervalOptions, ModelOutput, evaluate

RANDOM = np.random.default_rng(7)
QUICK = IntervalOptions(resamples=50)


def compare(labels: Any, baseline: Any, candidate: Any, metrics: Any = None) -> Figures:
    return evaluate(labels, (ModelOutput(baseline), ModelOutput(candidate)), metrics, QUICK)


def expected(labels: Any, predicted: Any) -> dict[str, float]:
    weighted: dict[str, Any] = {"average": "weighted", "zero_division": 0.0}
    return {
        "accuracy": sk.accuracy_score(labels, predicted),
        "f1_score": sk.f1_score(labels, predicted, **weighted),
        "precision": sk.precision_score(labels, predicted, **weighted),
        "recall": sk.recall_score(labels, predicted, **weighted),
    }


def without_auroc(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if name != "auroc"}


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_metrics_of_labels_equal_scikit_learns(classes: int) -> None:
    labels = RANDOM.integers(0, classes, 600)
    sides = [
        np.where(RANDOM.random(600) < share, labels, RANDOM.integers(0, classes, 600))
        for share in (0.3, 0.7)
    ]
    found = compare(labels, *sides)
    for side, predicted in enumerate(sides):
        assert found.metrics[side] == pytest.approx(expected(labels, predicted), abs=1e-12)
    assert set(found.undefined) == {"auroc"}
    assert found.improvements["accuracy"] == pytest.approx(
        found.metrics[1]["accuracy"] - found.metrics[0]["accuracy"]
    )
    names = np.array([f"class {number:02}" for number in range(classes)])
    as_text = compare(names[labels].tolist(), *(names[side].tolist() for side in sides))
    assert as_text == found


def test_metrics_of_probabilities_equal_scikit_learns() -> None:
    labels = RANDOM.integers(0, 2, 500)
    sides = [
        np.clip(0.4 + 0.2 * labels + RANDOM.normal(0, noise, 500), 0, 1) for noise in (0.3, 0.2)
    ]
    found = compare(labels, *sides)
    for side, scores in enumerate(sides):
        assert without_auroc(found.metrics[side]) == pytest.approx(
            expected(labels, (scores >= 0.5).astype(int)), abs=1e-12
        )
        assert found.metrics[side]["auroc"] == pytest.approx(sk.roc_auc_score(labels, scores))
    assert list(found.improvements) == ["accuracy", "auroc", "f1_score", "precision", "recall"]
    assert set(found.intervals) == set(found.improvements)


def test_the_area_of_several_classes_is_the_weighted_mean_of_each_against_the_rest() -> None:
    labels = RANDOM.integers(0, 4, 400)
    first = RANDOM.dirichlet(np.ones(4), 400)
    second = 0.7 * first + 0.3 * np.eye(4)[labels]
    found = compare(labels, first, second, ["auroc"])
    for side, scores in enumerate((first, second)):
        assert found.metrics[side]["auroc"] == pytest.approx(
            sk.roc_auc_score(labels, scores, multi_class="ovr", average="weighted")
        )
    ends = found.intervals["auroc"]
    assert ends.low < found.improvements["auroc"] < ends.high


def test_regression_metrics_equal_scikit_learns_and_know_their_direction() -> None:
    labels = RANDOM.normal(10, 2, 300)
    worse, better = labels + RANDOM.normal(0, 2, 300), labels + RANDOM.normal(0, 1, 300)
    found = compare(labels, worse, better)
    for side, values in enumerate((worse, better)):
        assert found.metrics[side] == pytest.approx(
            {
                "mae": sk.mean_absolute_error(labels, values),
                "mape": sk.mean_absolute_percentage_error(labels, values),
                "mse": sk.mean_squared_error(labels, values),
                "r2": sk.r2_score(labels, values),
                "rmse": sk.root_mean_squared_error(labels, values),
            }
        )
    assert all(change > 0 for change in found.improvements.values())
    for name, ends in found.intervals.items():
        assert ends.low <= found.improvements[name] <= ends.high
    back = compare(labels, better, worse)
    assert all(change < 0 for change in back.improvements.values())


def test_regression_metrics_are_computed_of_whole_numbers_where_they_are_named() -> None:
    found = compare([1, 2, 3], [2, 2, 2], [1, 2, 4], ["rmse", "accuracy"])
    assert found.metrics[0]["rmse"] == pytest.approx(math.sqrt(2 / 3))
    assert found.metrics[1]["accuracy"] == pytest.approx(2 / 3)


def test_labels_of_one_class_leave_the_area_undefined_with_the_reason() -> None:
    found = compare([1, 1, 1], [0.9, 0.2, 0.8], [0.9, 0.7, 0.8])
    assert "auroc" not in found.metrics[0]
    assert "auroc" not in found.metrics[1]
    assert "auroc" not in found.improvements
    assert found.undefined == {"auroc": "the labels hold one class only (1)"}
    assert found.metrics[1]["accuracy"] == 1.0


def test_what_is_defined_for_one_model_only_is_no_improvement() -> None:
    found = compare([0, 1, 1, 0], [0, 1, 0, 0], [0.1, 0.9, 0.8, 0.3])
    assert "auroc" not in found.metrics[0]
    assert found.metrics[1]["auroc"] == 1.0
    assert "auroc" not in found.improvements
    assert found.undefined["auroc"].startswith("baseline: ")
    margins = compare([0, 1, 1, 0], [-3.0, 2.5, 2.0, -1.5], [0.1, 0.9, 0.8, 0.3])
    assert margins.metrics[0] == {"auroc": 1.0}
    assert margins.metrics[1]["accuracy"] == 1.0
    assert margins.undefined["accuracy"].startswith("baseline: the predictions lie between -3")


def test_a_model_that_fails_to_give_probabilities_leaves_auroc_undefined_with_its_reason() -> None:
    silent = ModelOutput([0, 1, 0, 1], no_scores="predict_proba of the model failed with KeyError")
    scored = ModelOutput([0.1, 0.9, 0.2, 0.8])
    found = evaluate([0, 1, 0, 1], (silent, scored), None, QUICK)
    assert found.undefined["auroc"] == "baseline: predict_proba of the model failed with KeyError"
    assert found.metrics[0]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("labels", "metric", "reason"),
    [
        ([2.0, 2.0, 2.0], "r2", "no variance"),
        ([2.0], "r2", "one row"),
        ([0.0, 1.5, 2.0], "mape", "labels are 0"),
    ],
)
def test_regression_metrics_may_be_undefined(labels: list[float], metric: str, reason: str) -> None:
    values = [one + 0.5 for one in labels]
    found = compare(labels, values, labels, [metric, "mae"])
    assert reason in found.undefined[metric]
    assert metric not in found.metrics[0]
    assert found.improvements == {"mae": pytest.approx(0.5)}


def test_where_nothing_is_defined_the_comparison_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="No metric is defined for both models: auroc"):
        compare([1, 1], [0.5, 0.6], [0.7, 0.8], ["auroc"])


def test_a_class_that_is_never_predicted_is_told() -> None:
    found = compare([0, 1, 1], [0, 0, 0], [0, 1, 1])
    assert found.metrics[0]["precision"] == pytest.approx(1 / 9)
    assert "baseline never predicts 1 of the classes" in found.notes["precision"]


def test_metrics_of_ones_own_are_added_with_their_direction() -> None:
    def cost(truth: Any, predicted: Any) -> float:
        return float((truth != predicted).sum() * 10)

    def never(truth: Any, scores: Any) -> float:
        return math.nan

    found = compare(
        [0, 1, 1, 0],
        [0.1, 0.2, 0.9, 0.3],
        [0.1, 0.8, 0.9, 0.3],
        [
            ComparisonMetric("cost", higher_is_better=False, function=cost),
            ComparisonMetric("brier", False, sk.brier_score_loss, "scores"),
            ComparisonMetric("never", function=never, needs="scores"),
            "accuracy",
        ],
    )
    assert found.metrics[0]["cost"] == 10.0
    assert found.improvements["cost"] == 10.0
    assert found.improvements["brier"] > 0
    assert found.undefined["never"] == "its function gives nan"
    assert set(found.intervals) == {"accuracy"}
    assert "Intervals are computed" in found.notes["cost"]


@pytest.mark.parametrize(
    "metrics",
    [[], "accuracy", ["nonsense"], ["accuracy", "accuracy"], [3], [ComparisonMetric("mine")]],
)
def test_unknown_metrics_are_refused(metrics: Any) -> None:
    with pytest.raises(InvalidInputError):
        compare([0, 1], [0, 1], [0, 1], metrics)


@pytest.mark.parametrize(
    "options",
    [{"resamples": -1}, {"resamples": 1.5}, {"confidence": 1}, {"confidence": 0}, {"seed": -1}],
)
def test_options_that_give_no_interval_are_refused(options: dict[str, Any]) -> None:
    outputs = (ModelOutput([0, 1]), ModelOutput([0, 1]))
    with pytest.raises(InvalidInputError):
        evaluate([0, 1], outputs, None, IntervalOptions(**options))


@pytest.mark.parametrize(
    "labels", [[], [0, None], [0, math.nan], [[0, 1], [1, 0]], None, [0, "a"], [object(), 1]]
)
def test_labels_that_are_none_are_refused(labels: Any) -> None:
    with pytest.raises(InvalidInputError):
        compare(labels, [0, 1], [0, 1])
