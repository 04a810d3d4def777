"""What callers and models hand over, as numpy arrays of numbers or text."""

import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from hokusai_core.errors import InvalidInputError

Array = npt.NDArray[Any]

_TWO_DIMENSIONS = 2


def as_table(values: Any, what: str) -> Array:
    """Give labels or predictions as an array of one or two dimensions, of numbers or of text.

    Takes lists, tuples, arrays, tensors, and what pandas has (a Series, a DataFrame). Booleans
    become 0 and 1. A second dimension of one column is dropped.

    Raises:
        InvalidInputError: It is none of these, is empty, mixes text and numbers, or holds missing
            or infinite values.
    """
    if values is None or isinstance(values, str | bytes):
        raise InvalidInputError(f"{what} must be a list or array, not {type(values).__name__}.")
    try:
        array = np.asarray(values)
        if is_text(array) and isinstance(values, list | tuple):
            # numpy writes numbers among texts as text.
            array = np.asarray(values, dtype=object)
    except (TypeError, ValueError, RuntimeError) as cause:
        raise InvalidInputError(f"{what} cannot be read as an array: {cause}") from cause
    if array.ndim == _TWO_DIMENSIONS and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, _TWO_DIMENSIONS):
        raise InvalidInputError(
            f"{what} must have one or two dimensions; the shape is {array.shape}."
        )
    if not array.size:
        raise InvalidInputError(f"{what} must not be empty.")
    return _typed(array, what)


def as_column(values: Any, what: str) -> Array:
    """Give labels as an array of one dimension; see :func:`as_table`."""
    array = as_table(values, what)
    if array.ndim != 1:
        raise InvalidInputError(f"{what} must be one column; the shape is {array.shape}.")
    return array


def is_text(array: Array) -> bool:
    """Say whether an array of :func:`as_table` holds text."""
    return array.dtype.kind in "UT"


def is_fractional(array: Array) -> bool:
    """Say whether an array holds numbers of which some are not whole."""
    return array.dtype.kind == "f" and bool((array != np.floor(array)).any())


def _typed(array: Array, what: str) -> Array:
    kind = array.dtype.kind
    if kind == "O":
        array = _from_objects(array, what)
        kind = array.dtype.kind
    if kind in "UT":
        return array
    if kind in "bi":
        return array.astype(np.int64, copy=False)
    if kind == "u":
        return array.astype(np.int64 if array.max() <= np.iinfo(np.int64).max else np.float64)
    if kind != "f":
        raise InvalidInputError(f"{what} must be numbers or text, not {array.dtype}.")
    array = array.astype(np.float64, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        count = array.size - int(np.count_nonzero(finite))
        raise InvalidInputError(
            f"{what} hold {count} missing (NaN) or infinite values of {array.size}. Mend or drop these "
            "rows first: no metric is defined for them."
        )
    return array


def _from_objects(array: Array, what: str) -> Array:
    values = array.ravel().tolist()
    types = set(map(type, values))
    if all(issubclass(one, str) for one in types):
        return np.array(values, dtype=np.str_).reshape(array.shape)
    if all(issubclass(one, numbers.Real | np.bool_) for one in types):
        return np.array(values).reshape(array.shape)
    named = ", ".join(sorted(one.__name__ for one in types))
    raise InvalidInputError(
        f"{what} must be all numbers or all text, without missing values; they hold: {named}."
    )
