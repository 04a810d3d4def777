"""What a comparison of a million predictions costs, beside scikit-learn's bare metrics of them."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from hokusai_core.comparison.evaluation import ModelOutput, evaluate

ROWS = 1_000_000
MOST_TIMES = 3.0

Array = np.ndarray[Any, Any]


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def bare(labels: Array, sides: tuple[Array, Array]) -> None:
    weighted: dict[str, Any] = {"average": "weighted", "zero_division": 0.0}
    for scores in sides:
        cut = (scores >= 0.5).astype(int)
        sk.accuracy_score(labels, cut)
        sk.roc_auc_score(labels, scores)
        sk.f1_score(labels, cut, **weighted)
        sk.precision_score(labels, cut, **weighted)
        sk.recall_score(labels, cut, **weighted)


@pytest.mark.benchmark
def test_intervals_of_a_million_rows_cost_at_most_three_times_the_bare_metrics() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, ROWS)
    sides = tuple(
        np.clip(0.4 + 0.2 * labels + random.normal(0, noise, ROWS), 0, 1) for noise in (0.3, 0.2)
    )
    outputs = (ModelOutput(sides[0]), ModelOutput(sides[1]))
    bare(labels[:1000], (sides[0][:1000], sides[1][:1000]))
    ratios = sorted(
        seconds(lambda: evaluate(labels, outputs))
        / seconds(lambda: bare(labels, (sides[0], sides[1])))
        for _ in range(3)
    )
    print(f"\ncompare {ROWS:,} predictions with intervals: {ratios[1]:.2f} x bare scikit-learn")
    assert ratios[1] <= MOST_TIMES


@pytest.mark.benchmark
@pytest.mark.parametrize("classes", [10, 300])
def test_many_classes_and_rows_fit_into_memory(classes: int) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, classes, ROWS)
    sides = [
        np.where(random.random(ROWS) < share, labels, random.integers(0, classes, ROWS))
        for share in (0.5, 0.6)
    ]
    tracemalloc.start()
    taken = seconds(lambda: evaluate(labels, (ModelOutput(sides[0]), ModelOutput(sides[1]))))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\n{classes} classes: {taken:.1f} s, at most {most / 1e6:.0f} MB more")
    assert most < 1e9
