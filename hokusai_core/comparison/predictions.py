"""What a model predicted, read as labels, as scores, or as numbers; or why that cannot be done."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hokusai_core.comparison.arrays import Array, as_table, is_fractional, is_text
from hokusai_core.errors import InvalidInputError

CUT = 0.5
"""A probability of at least this much means the second class."""

_BINARY = 2
_NO_SCORES = "the model predicts labels, and this metric needs scores or probabilities"


@dataclass(frozen=True)
class Predictions:
    """One model's predictions for a classification; what is None has its reason beside it.

    Args:
        labels: The predicted class of each row.
        scores: One number for each row where there are two classes, else one column for each of
            ``known``, in sorted order.
        known: The classes that scores are of, in sorted order.
        no_labels: Why there are no labels.
        no_scores: Why there are no scores.
    """

    labels: Array | None
    scores: Array | None
    known: Array
    no_labels: str = ""
    no_scores: str = ""


def read_predictions(
    raw: Any,
    labels: Array,
    what: str,
    scores: Any = None,
    score_classes: Sequence[Any] = (),
    no_scores: str = "",
) -> Predictions:
    """Read a model's predictions for rows with these true labels.

    Args:
        raw: What the model gave: labels; probabilities of the second class in sorted order; or one
            column for each class, in sorted order, or named by class in a DataFrame.
        labels: The true labels.
        what: Which model's, for messages.
        scores: Probabilities that the model gave besides, one column for each class.
        score_classes: The classes of these columns.
        no_scores: Why the model gave none, where that is known.

    Raises:
        InvalidInputError: The predictions do not fit the labels: another length, numbers for text,
            or a number of columns that is none of classes.
    """
    table = as_table(raw, what)
    _check_length(table, labels, what)
    known = _known_classes(labels)
    if table.ndim > 1:
        return _from_columns(table, _classes_of_columns(raw, table, labels, known, what))
    if scores is not None and (is_text(table) or not is_fractional(table)):
        columns = as_table(scores, f"{what} (predict_proba)")
        _check_length(columns, labels, f"{what} (predict_proba)")
        classes = np.asarray(score_classes)
        if columns.ndim > 1 and is_text(classes) == is_text(labels):
            own = _from_columns(columns, classes)
            _check_kind(table, labels, what)
            return Predictions(table, own.scores, own.known, no_scores=own.no_scores)
    found = _from_column(table, labels, known, what)
    return replace(found, no_scores=no_scores) if no_scores and found.scores is None else found


def read_values(raw: Any, labels: Array, what: str) -> Array:
    """Read a model's predictions as numbers.

    Raises:
        InvalidInputError: They or the labels are no numbers, or the lengths differ.
    """
    table = as_table(raw, what)
    _check_length(table, labels, what)
    if table.ndim > 1:
        raise InvalidInputError(
            f"{what} have {table.shape[1]} columns, and a regression metric needs one number per row."
        )
    if is_text(table) or is_text(labels):
        raise InvalidInputError(
            f"A regression metric needs numbers, and {'the labels' if is_text(labels) else what} "
            "are text."
        )
    return table.astype(np.float64)


def _from_column(table: Array, labels: Array, known: Array, what: str) -> Predictions:
    if table.dtype.kind != "f":
        _check_kind(table, labels, what)
        return Predictions(table, None, known, no_scores=_NO_SCORES)
    binary = len(known) == _BINARY
    numeric = not is_text(labels)
    zero_or_one = binary and numeric and known.tolist() == [0, 1]
    if numeric and not zero_or_one and bool(np.isin(table, known).all()):
        return Predictions(table, None, known, no_scores=_NO_SCORES)
    low, high = float(table.min()), float(table.max())
    if low >= 0 and high <= 1:
        if binary:
            return Predictions(known[(table >= CUT).astype(int)], table, known)
        if numeric and not is_fractional(table):
            return Predictions(table, None, known, no_scores=_NO_SCORES)
        reason = (
            f"the labels hold {len(known)} classes, and one probability for each row cannot tell "
            "which is meant"
        )
        return Predictions(None, None, known, reason, reason)
    if numeric and not is_fractional(table):
        return Predictions(table, None, known, no_scores=_NO_SCORES)
    reason = f"the predictions lie between {low:g} and {high:g}: neither labels nor probabilities"
    if binary:
        return Predictions(None, table, known, no_labels=reason)
    return Predictions(None, None, known, reason, reason)


def _from_columns(table: Array, classes: Array) -> Predictions:
    order = np.argsort(classes, kind="stable")
    table, classes = table[:, order], classes[order]
    probabilities = bool(table.min() >= 0 and table.max() <= 1)
    if len(classes) == _BINARY:
        if probabilities:
            chosen = (table[:, 1] >= CUT).astype(int)
            return Predictions(classes[chosen], table[:, 1], classes)
        return Predictions(classes[table.argmax(axis=1)], table[:, 1] - table[:, 0], classes)
    labels = classes[table.argmax(axis=1)]
    if probabilities and np.allclose(table.sum(axis=1), 1.0):
        return Predictions(labels, table, classes)
    reason = "the columns of each row do not add up to 1, so they are no probabilities"
    return Predictions(labels, None, classes, no_scores=reason)


def _classes_of_columns(raw: Any, table: Array, labels: Array, known: Array, what: str) -> Array:
    if is_text(table):
        raise InvalidInputError(f"{what} have {table.shape[1]} columns of text; labels are one.")
    count = table.shape[1]
    names = [str(name) for name in getattr(raw, "columns", ())]
    by_name = {str(one): one for one in known.tolist()}
    if len(names) == count and set(names) >= set(by_name) and not is_text(labels):
        whole = all(name.lstrip("-").isdigit() for name in names)
        if whole:
            return np.array([int(name) for name in names])
    if len(names) == count and set(names) >= set(by_name) and is_text(labels):
        return np.array(names)
    if count == len(known):
        return known
    if not is_text(labels) and bool(np.isin(known, np.arange(count)).all()):
        return np.arange(count)
    raise InvalidInputError(
        f"{what} have {count} columns, and the labels hold {len(known)} classes: it cannot be told "
        "which column is which class. Give a DataFrame with the classes as column names, or labels."
    )


def _known_classes(labels: Array) -> Array:
    """Give the classes that predictions can be of, sorted; 0 and 1 are understood where all are so."""
    if is_text(labels):
        return np.array(sorted(set(labels.tolist())))
    if bool(((labels == 0) | (labels == 1)).all()):
        return np.array([0, 1])
    return np.unique(labels)


def _check_length(table: Array, labels: Array, what: str) -> None:
    if len(table) != len(labels):
        raise InvalidInputError(
            f"{what} are {len(table)} rows, and the labels {len(labels)}: they must be of the same rows."
        )


def _check_kind(table: Array, labels: Array, what: str) -> None:
    if is_text(table) != is_text(labels):
        kinds = ("text", "numbers") if is_text(table) else ("numbers", "text")
        raise InvalidInputError(f"{what} are {kinds[0]}, and the labels {kinds[1]}.")
