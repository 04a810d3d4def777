"""Classes as whole numbers from 0, so that the metrics need not compare texts."""

from collections.abc import Sequence

import numpy as np

from hokusai_core.comparison.arrays import Array, is_text

_SMALL_RANGE = 1 << 16


def encode(columns: Sequence[Array]) -> tuple[list[Array], int]:
    """Number the classes of several columns together, in sorted order.

    Returns:
        The columns as numbers, and how many classes there are.
    """
    if is_text(columns[0]):
        return _encode_text(columns)
    low = min(int(np.floor(column.min())) for column in columns)
    high = max(int(np.ceil(column.max())) for column in columns)
    whole = all(column.dtype.kind == "i" for column in columns)
    if whole and high - low < _SMALL_RANGE:
        return _encode_small(columns, low, high)
    classes = np.unique(np.concatenate([np.unique(column) for column in columns]))
    return [np.searchsorted(classes, column) for column in columns], len(classes)


def _encode_text(columns: Sequence[Array]) -> tuple[list[Array], int]:
    texts = [column.tolist() for column in columns]
    classes = sorted(set().union(*map(set, texts)))
    number_of = {name: number for number, name in enumerate(classes)}
    coded = [
        np.fromiter(map(number_of.__getitem__, text), dtype=np.int64, count=len(text))
        for text in texts
    ]
    return coded, len(classes)


def _encode_small(columns: Sequence[Array], low: int, high: int) -> tuple[list[Array], int]:
    present = np.zeros(high - low + 1, dtype=bool)
    for column in columns:
        present[column - low] = True
    number_of = np.cumsum(present) - 1
    return [number_of[column - low] for column in columns], int(present.sum())
