"""Accuracy, precision, recall and F1 of two models, from one table of distinct rows."""

import numpy as np

from hokusai_core.comparison.arrays import Array
from hokusai_core.comparison.bootstrap import (
    MOST_CELLS,
    MOST_GROUPS,
    Interval,
    SumsTable,
    deal,
    interval,
)
from hokusai_core.comparison.coding import encode

_MOST_CLASSES = 1000
_MOST_NUMBERS = 10_000_000
_LEAST_GROUPS = 200
_COLUMNS = 5


class CountedRows:
    """How often each (true label, prediction of the baseline, of the candidate) occurs.

    Args:
        labels: The true label of each row.
        baseline: The baseline's prediction.
        candidate: The candidate's.
    """

    def __init__(self, labels: Array, baseline: Array, candidate: Array) -> None:
        (self._labels, self._baseline, self._candidate), self._classes = encode(
            [labels, baseline, candidate]
        )
        size = self._classes
        cell = (self._labels * size + self._baseline) * size + self._candidate
        if size**3 <= max(len(cell), MOST_CELLS):
            counts = np.bincount(cell, minlength=size**3)
            present = np.flatnonzero(counts)
            self._counts = counts[present]
        else:
            present, self._counts = np.unique(cell, return_counts=True)
        self._of_cell = (present // (size * size), present // size % size, present % size)

    def metrics(self, which: int) -> dict[str, float]:
        """Compute the metrics of the baseline (0) or the candidate (1) with scikit-learn.

        Each distinct row goes in once, weighted by how often it occurs, which gives the same numbers
        as all rows. A class that is never predicted counts with a precision of 0, as scikit-learn's
        own default has it.
        """
        from sklearn.metrics import accuracy_score, precision_recall_fscore_support

        labels, predicted = self._of_cell[0], self._of_cell[1 + which]
        precision, recall, f1_score, _ = precision_recall_fscore_support(
            labels, predicted, average="weighted", sample_weight=self._counts, zero_division=0.0
        )
        accuracy = accuracy_score(labels, predicted, sample_weight=self._counts)
        values = {
            "accuracy": accuracy,
            "f1_score": f1_score,
            "precision": precision,
            "recall": recall,
        }
        return {name: float(value) for name, value in values.items()}

    def never_predicted(self, which: int) -> int:
        """Count the classes among the true labels that a model never predicts."""
        return len(np.setdiff1d(self._of_cell[0], self._of_cell[1 + which]))

    def intervals(
        self, resamples: int, confidence: float, random: np.random.Generator
    ) -> dict[str, Interval | None]:
        """Give the interval of each metric's improvement; {} where there are too many classes."""
        if self._classes > _MOST_CLASSES:
            return {}
        cells = len(self._counts)
        few = cells <= MOST_CELLS and cells * _COLUMNS * self._classes <= _MOST_NUMBERS
        table = self._cells() if few else self._groups(random)
        found = table.over_samples(resamples, random, self._improvements)
        return {name: interval(changes, confidence) for name, changes in found.items()}

    def _improvements(self, samples: Array) -> dict[str, Array]:
        samples = samples.reshape(len(samples), _COLUMNS, self._classes)
        support = samples[:, 0]
        before = _weighted(support, samples[:, 1], samples[:, 2])
        after = _weighted(support, samples[:, 3], samples[:, 4])
        return {name: after[name] - before[name] for name in after}

    def _cells(self) -> SumsTable:
        labels, baseline, candidate = self._of_cell
        rows = np.arange(len(labels))
        sums = np.zeros((len(labels), _COLUMNS, self._classes))
        sums[rows, 0, labels] = 1
        for column, predicted in ((1, baseline), (3, candidate)):
            sums[rows, column, predicted] = 1
            sums[rows, column + 1, labels] = labels == predicted
        total = int(self._counts.sum())
        return SumsTable(
            sums.reshape(len(labels), -1), draws=total, probabilities=self._counts / total
        )

    def _groups(self, random: np.random.Generator) -> SumsTable:
        most = max(_LEAST_GROUPS, min(MOST_GROUPS, _MOST_NUMBERS // (_COLUMNS * self._classes)))
        group, groups = deal(len(self._labels), random, most)
        size = self._classes
        sums = np.empty((groups, _COLUMNS, size))

        def count(column: int, codes: Array, group: Array) -> None:
            counted = np.bincount(group * size + codes, minlength=groups * size)
            sums[:, column] = counted.reshape(groups, size)

        count(0, self._labels, group)
        for column, predicted in ((1, self._baseline), (3, self._candidate)):
            count(column, predicted, group)
            hit = predicted == self._labels
            count(column + 1, predicted[hit], group[hit])
        return SumsTable(sums.reshape(groups, -1), draws=groups)


def _weighted(support: Array, predicted: Array, hits: Array) -> dict[str, Array]:
    """The averages over classes, weighted by support, of each sample (the last axis is the class)."""
    total = support.sum(axis=-1)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    both = support + predicted
    f1_score = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    accuracy = hits.sum(axis=-1) / total
    return {
        "accuracy": accuracy,
        "f1_score": (support * f1_score).sum(axis=-1) / total,
        "precision": (support * precision).sum(axis=-1) / total,
        "recall": accuracy,
    }
