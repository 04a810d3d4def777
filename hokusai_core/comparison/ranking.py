"""The area under the ROC curve of two models, and the interval of its improvement."""

from collections.abc import Iterator

import numpy as np

from hokusai_core.comparison.arrays import Array
from hokusai_core.comparison.bootstrap import Interval, deal, group_sums, interval
from hokusai_core.comparison.predictions import Predictions

_BINARY = 2


def undefined_reason(labels: Array, predictions: Predictions) -> str:
    """Say why the area is undefined for these scores; "" where it is defined."""
    if predictions.scores is None:
        return predictions.no_scores
    present = np.isin(predictions.known, labels)
    if int(present.sum()) < _BINARY:
        return f"the labels hold one class only ({labels[0]})"
    if not present.all():
        return "the model tells classes apart of which the labels hold no row"
    return ""


def auroc(labels: Array, predictions: Predictions) -> float:
    """Compute the area with scikit-learn; of several classes each against the rest, weighted."""
    from sklearn.metrics import roc_auc_score

    if len(predictions.known) == _BINARY:
        return float(roc_auc_score(labels == predictions.known[1], predictions.scores))
    return float(
        roc_auc_score(
            labels,
            predictions.scores,
            multi_class="ovr",
            average="weighted",
            labels=predictions.known,
        )
    )


def auroc_interval(
    labels: Array,
    baseline: Predictions,
    candidate: Predictions,
    resamples: int,
    confidence: float,
    random: np.random.Generator,
) -> Interval | None:
    """Give the interval of the area's improvement.

    The area is the mean, over the rows of a class, of the share of the other rows that rank below
    each. A sample's area is taken as the mean of the same shares over the rows drawn (and of the
    counterparts over the other rows), which leaves out a term that vanishes with the number of rows.
    These shares are the structural components of DeLong, DeLong and Clarke-Pearson (*Biometrics* 44,
    1988), whose variance the interval has.
    """
    group, groups = deal(len(labels), random)
    classes = candidate.known[1:] if len(candidate.known) == _BINARY else candidate.known
    areas: list[float] = []

    def columns() -> Iterator[Array]:
        for number, one in enumerate(classes):
            positive = labels == one
            before = _shares(_scores_of(baseline, number), positive)
            change = _shares(_scores_of(candidate, number), positive) - before
            areas.append(float(change[positive].mean()))
            for side in (positive, ~positive):
                yield side.astype(float)
                yield change * side

    def improvements(samples: Array) -> dict[str, Array]:
        samples = samples.reshape(len(samples), len(classes), 4)
        positives, above, negatives, below = np.moveaxis(samples, 2, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = above / positives + below / negatives - np.array(areas)
            weights = positives / positives.sum(axis=1, keepdims=True)
        return {"auroc": (weights * each).sum(axis=1)}

    table = group_sums(columns(), group, groups)
    return interval(table.over_samples(resamples, random, improvements)["auroc"], confidence)


def _scores_of(predictions: Predictions, number: int) -> Array:
    scores = predictions.scores
    if scores is None:
        raise TypeError("These predictions have no scores.")
    return scores if scores.ndim == 1 else scores[:, number]


def _shares(scores: Array, positive: Array) -> Array:
    """For each row the share of the rows of the other side that it ranks rightly against; ties half."""
    order = np.argsort(scores)
    ranked, side = scores[order], positive[order]
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    tie = np.cumsum(np.r_[False, ranked[1:] != ranked[:-1]])
    positives = np.add.reduceat(side.astype(np.int64), first)
    negatives = np.diff(np.r_[first, len(ranked)]) - positives
    negatives_below = np.cumsum(negatives) - negatives
    positives_above = positives.sum() - np.cumsum(positives)
    of_positive = (negatives_below + negatives / 2) / negatives.sum()
    of_negative = (positives_above + positives / 2) / positives.sum()
    shares = np.empty(len(scores))
    shares[order] = np.where(side, of_positive[tie], of_negative[tie])
    return shares
