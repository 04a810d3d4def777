"""Intervals: those of drawing rows again and again, however they are computed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn import metrics as sk

from hokusai_core.comparison import bootstrap, classification, ranking
from hokusai_core.comparison.evaluation import IntervalOptions, ModelOutput, evaluate

Array = np.ndarray[Any, Any]


def drawn_row_by_row(
    change: Callable[[Array], float], rows: int, resamples: int, seed: int
) -> tuple[float, float]:
    """The textbook's way: draw rows, compute anew."""
    random = np.random.default_rng(seed)
    found = [change(random.integers(0, rows, rows)) for _ in range(resamples)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def classifiers(rows: int, seed: int = 3) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    shared = random.normal(0, 0.2, rows)
    first = np.clip(0.42 + 0.16 * labels + shared, 0, 1)
    second = np.clip(0.38 + 0.24 * labels + 0.5 * shared + random.normal(0, 0.15, rows), 0, 1)
    return labels, first, second


def intervals_of(
    labels: Array, first: Array, second: Array, metrics: list[str], resamples: int = 2000
) -> dict[str, bootstrap.Interval]:
    outputs = (ModelOutput(first), ModelOutput(second))
    return evaluate(labels, outputs, metrics, IntervalOptions(resamples=resamples)).intervals


def assert_alike(found: bootstrap.Interval, other: tuple[float, float], share: float) -> None:
    """Both ends, to a share of the width: both come from chance."""
    width = other[1] - other[0]
    assert found.low == pytest.approx(other[0], abs=share * width)
    assert found.high == pytest.approx(other[1], abs=share * width)


def test_counted_metrics_have_the_intervals_of_drawn_rows() -> None:
    labels, first, second = classifiers(400)
    cut = [(scores >= 0.5).astype(int) for scores in (first, second)]

    def precision(truth: Array, predicted: Array) -> float:
        table = np.bincount(2 * truth + predicted, minlength=4).reshape(2, 2)
        return float((table.diagonal() / table.sum(axis=0) * table.sum(axis=1)).sum() / table.sum())

    assert precision(labels, cut[0]) == pytest.approx(
        sk.precision_score(labels, cut[0], average="weighted")
    )
    other = drawn_row_by_row(
        lambda rows: precision(labels[rows], cut[1][rows]) - precision(labels[rows], cut[0][rows]),
        len(labels),
        2000,
        seed=1,
    )
    assert_alike(intervals_of(labels, first, second, ["precision"])["precision"], other, 0.1)


def test_the_area_has_the_interval_of_drawn_rows() -> None:
    labels, first, second = classifiers(400)

    def area(truth: Array, scores: Array) -> float:
        positives = int(truth.sum())
        ranks = rankdata(scores)[truth == 1].sum() - positives * (positives + 1) / 2
        return float(ranks / positives / (len(truth) - positives))

    assert area(labels, first) == pytest.approx(sk.roc_auc_score(labels, first))
    other = drawn_row_by_row(
        lambda rows: area(labels[rows], second[rows]) - area(labels[rows], first[rows]),
        len(labels),
        1000,
        seed=1,
    )
    assert_alike(intervals_of(labels, first, second, ["auroc"])["auroc"], other, 0.1)


def test_errors_have_the_intervals_of_drawn_rows() -> None:
    random = np.random.default_rng(5)
    labels = random.normal(0, 3, 300)
    first, second = labels + random.normal(0, 1, 300), labels + random.standard_t(4, 300)
    found = intervals_of(labels, first, second, ["rmse", "r2", "mae"])

    def change(rows: Array) -> float:
        truth = labels[rows]
        errors = (first[rows] - truth) ** 2 - (second[rows] - truth) ** 2
        return float(errors.sum() / ((truth - truth.mean()) ** 2).sum())

    assert change(np.arange(300)) == pytest.approx(
        sk.r2_score(labels, second) - sk.r2_score(labels, first)
    )
    assert_alike(found["r2"], drawn_row_by_row(change, 300, 2000, seed=2), 0.1)


def test_groups_give_the_intervals_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are drawn in groups: the same rows, few enough to be drawn one by one, tell."""
    labels, first, second = classifiers(2000)
    alone = intervals_of(labels, first, second, ["auroc"])["auroc"]
    monkeypatch.setattr(bootstrap, "MOST_GROUPS", 500)
    grouped = intervals_of(labels, first, second, ["auroc"])["auroc"]
    assert grouped != alone
    assert_alike(grouped, (alone.low, alone.high), 0.15)


def test_counted_metrics_of_many_classes_are_drawn_in_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 20, 1500)
    first, second = (
        np.where(random.random(1500) < share, labels, random.integers(0, 20, 1500))
        for share in (0.6, 0.65)
    )
    names = ["accuracy", "f1_score", "precision"]
    cells = intervals_of(labels, first, second, names)
    monkeypatch.setattr(classification, "MOST_CELLS", 1)
    groups = intervals_of(labels, first, second, names)
    for name in names:
        assert groups[name] != cells[name]
        assert_alike(groups[name], (cells[name].low, cells[name].high), 0.12)


def test_the_shares_are_delongs_components() -> None:
    """Their mean over either side is the area, ties counting half."""
    random = np.random.default_rng(4)
    positive = random.random(300) < 0.3
    scores = np.round(positive * 0.3 + random.random(300), 1)
    shares = ranking._shares(scores, positive)
    area = sk.roc_auc_score(positive, scores)
    assert shares[positive].mean() == pytest.approx(area)
    assert shares[~positive].mean() == pytest.approx(area)
    for row in range(5):
        others = scores[~positive] if positive[row] else scores[positive]
        right = others < scores[row] if positive[row] else others > scores[row]
        assert shares[row] == pytest.approx(right.mean() + (others == scores[row]).mean() / 2)


def test_the_same_seed_gives_the_same_intervals_and_another_does_not() -> None:
    labels, first, second = classifiers(300)
    outputs = (ModelOutput(first), ModelOutput(second))
    runs = [
        evaluate(labels, outputs, None, IntervalOptions(200, seed=seed)).intervals
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_intervals_are_of_pairs() -> None:
    """Two models that fail on the same rows differ by little, however often they fail."""
    labels, first, _ = classifiers(300)
    ends = intervals_of(labels, first, first, ["accuracy", "auroc"])
    assert (ends["accuracy"].low, ends["accuracy"].high) == (0.0, 0.0)
    assert (ends["auroc"].low, ends["auroc"].high) == pytest.approx((0.0, 0.0))


def test_intervals_hold_the_true_improvement_as_often_as_they_say() -> None:
    true = np.mean(np.diff([_area(classifiers(20_000, seed)) for seed in range(3)]))
    held = 0
    for seed in range(100, 160):
        labels, first, second = classifiers(200, seed)
        ends = intervals_of(labels, first, second, ["auroc"], resamples=300)["auroc"]
        held += ends.low <= true <= ends.high
    assert held >= 51  # 95 % of 60 are 57; fewer than 51 come once in a thousand times


def _area(drawn: tuple[Array, Array, Array]) -> list[float]:
    labels, first, second = drawn
    return [float(sk.roc_auc_score(labels, scores)) for scores in (first, second)]


def test_where_most_samples_have_one_class_there_is_no_interval() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    outputs = (ModelOutput(scores), ModelOutput(scores[::-1]))
    found = evaluate(labels, outputs, ["auroc"], IntervalOptions(500))
    assert found.intervals == {}
    assert "no interval" in found.notes["auroc"]


def test_no_resamples_are_no_intervals() -> None:
    labels, first, second = classifiers(50)
    assert intervals_of(labels, first, second, ["accuracy"], resamples=0) == {}


def test_a_million_rows_are_looked_at_a_fixed_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is drawn, and multiplied, does not grow with the rows."""
    drawn: list[tuple[int, int]] = []
    original = bootstrap.SumsTable._drawn

    def counted(self: bootstrap.SumsTable, count: int, random: np.random.Generator) -> Array:
        drawn.append((count, len(self.sums)))
        return original(self, count, random)

    monkeypatch.setattr(bootstrap.SumsTable, "_drawn", counted)
    labels, first, second = classifiers(200_000)
    intervals_of(labels, first, second, ["accuracy", "auroc"], resamples=100)
    assert sum(count * size for count, size in drawn) <= 100 * (8 + bootstrap.MOST_GROUPS)
