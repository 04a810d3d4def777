"""Errors of two models' numbers, and r2."""

import numpy as np

from hokusai_core.comparison.arrays import Array
from hokusai_core.comparison.bootstrap import Interval, deal, group_sums, interval
from hokusai_core.comparison.metric_table import METRICS

_LEAST_ROWS = 2


def undefined_reason(name: str, labels: Array) -> str:
    """Say why a metric is undefined for these true values; "" where it is defined."""
    if name == "r2" and len(labels) < _LEAST_ROWS:
        return "there is one row only"
    if name == "r2" and bool((labels == labels[0]).all()):
        return "all labels are equal, so there is no variance to explain"
    if name == "mape" and bool((labels == 0).any()):
        return "some labels are 0, and the error cannot be a share of them"
    return ""


def regression_metric(name: str, labels: Array, values: Array) -> float:
    """Compute one metric with scikit-learn."""
    from sklearn import metrics

    functions = {
        "mae": metrics.mean_absolute_error,
        "mape": metrics.mean_absolute_percentage_error,
        "mse": metrics.mean_squared_error,
        "r2": metrics.r2_score,
        "rmse": metrics.root_mean_squared_error,
    }
    return float(functions[name](labels, values))


def regression_intervals(
    names: list[str],
    labels: Array,
    baseline: Array,
    candidate: Array,
    resamples: int,
    confidence: float,
    random: np.random.Generator,
) -> dict[str, Interval | None]:
    """Give the interval of the improvement of each of these metrics."""
    centred = labels - labels.mean()
    columns = [np.ones(len(labels)), centred, centred**2]
    with np.errstate(divide="ignore", invalid="ignore"):
        for values in (baseline, candidate):
            error = np.abs(values - labels)
            share = error / np.abs(labels) if "mape" in names else error
            columns += [error, error**2, share]
    group, groups = deal(len(labels), random)

    def improvements(samples: Array) -> dict[str, Array]:
        before = _metrics(samples[:, :3], samples[:, 3:6])
        after = _metrics(samples[:, :3], samples[:, 6:9])
        signs = {name: 1 if METRICS[name].higher_is_better else -1 for name in names}
        return {name: sign * (after[name] - before[name]) for name, sign in signs.items()}

    found = group_sums(columns, group, groups).over_samples(resamples, random, improvements)
    return {name: interval(changes, confidence) for name, changes in found.items()}


def _metrics(rows: Array, errors: Array) -> dict[str, Array]:
    count, total, squares = rows.T
    absolute, squared, share = errors.T
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - squared / (squares - total**2 / count)
    return {
        "mae": absolute / count,
        "mape": share / count,
        "mse": squared / count,
        "r2": r2,
        "rmse": np.sqrt(squared / count),
    }
