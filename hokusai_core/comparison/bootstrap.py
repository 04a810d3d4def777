"""Paired bootstrap: how much an improvement could differ on another sample of rows.

Rows are drawn with replacement, both models' predictions with them, and the improvement is computed
anew for each such sample; the interval holds the middle of these (the percentile interval of Efron
and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13). Every metric here is a
function of sums over rows. So a sample is a vector of how often each row was drawn, and all samples
are one product of matrices.

Two ways keep that small where there are many rows, neither of which looks at the rows again:

* Equal rows are one *cell*: drawing rows and counting the cells is one multinomial draw of the counts
  (the same distribution, not an approximation).
* Else rows are dealt at random into 2048 *groups* of equal size, and groups are drawn in the place of
  rows. The variance of a sum stays right on average, with an error of its own of about 3 % (random
  groups: Wolter, *Introduction to Variance Estimation*, 2007, chapter 2). Up to 2048 rows each row is
  a group of its own, and this is the plain bootstrap.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from hokusai_core.comparison.arrays import Array

MOST_GROUPS = 2048
"""Rows are dealt into at most this many groups."""
MOST_CELLS = 4096
"""Up to this many distinct rows, their counts are drawn."""

_NUMBERS_AT_ONCE = 1 << 22
_LEAST_SHARE = 0.9

Compute = Callable[[Array], dict[str, Array]]
"""Gives the improvements by metric, from the sums of samples (one row for each sample)."""


@dataclass(frozen=True)
class Interval:
    """The middle of the improvements over all samples; ``low`` and ``high`` are its ends."""

    low: float
    high: float


@dataclass(frozen=True)
class SumsTable:
    """What samples are drawn from.

    Args:
        sums: For each cell or group one row: its share in each of the sums.
        draws: How many are drawn for one sample.
        probabilities: Of each cell; None where all are equal.
    """

    sums: Array
    draws: int
    probabilities: Array | None = None

    def over_samples(
        self, resamples: int, random: np.random.Generator, compute: Compute
    ) -> dict[str, Array]:
        """Draw samples, and compute improvements from the sums of each.

        Args:
            resamples: How many samples.
            random: Where chance comes from.
            compute: Called with the sums of some samples, one row for each.

        Returns:
            By metric, the improvement in each sample.
        """
        at_once = max(1, _NUMBERS_AT_ONCE // max(self.sums.shape))
        parts = []
        for done in range(0, resamples, at_once):
            count = min(at_once, resamples - done)
            parts.append(compute(self._drawn(count, random) @ self.sums))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _drawn(self, count: int, random: np.random.Generator) -> Array:
        if self.probabilities is not None:
            return random.multinomial(self.draws, self.probabilities, size=count).astype(float)
        size = len(self.sums)
        chosen = random.integers(0, size, (count, self.draws))
        chosen += size * np.arange(count)[:, None]
        return (
            np.bincount(chosen.ravel(), minlength=count * size).reshape(count, size).astype(float)
        )


def deal(rows: int, random: np.random.Generator, most: int | None = None) -> tuple[Array, int]:
    """Deal rows at random into groups of equal size, at most ``most`` (None is MOST_GROUPS).

    Returns:
        The group of each row, and how many groups there are.
    """
    groups = min(rows, MOST_GROUPS if most is None else most)
    if groups == rows:
        return np.arange(rows), groups
    return random.permutation(rows) % groups, groups


def group_sums(columns: Iterable[Array], group: Array, groups: int) -> SumsTable:
    """Sum columns of numbers over each group; each column is let go once it is summed."""
    sums = [np.bincount(group, weights=column, minlength=groups) for column in columns]
    return SumsTable(np.stack(sums, axis=1), draws=groups)


def interval(improvements: Array, confidence: float) -> Interval | None:
    """Give the interval over samples; None where too many of them have no value."""
    defined = improvements[np.isfinite(improvements)]
    if len(defined) < _LEAST_SHARE * len(improvements):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high))
