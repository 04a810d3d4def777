"""What a model gives, in any of its forms, is read as the same labels and scores."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hokusai_core import InvalidInputError
from hokusai_core.comparison.arrays import as_column
from hokusai_core.comparison.predictions import Predictions, read_predictions, read_values

TRUTH = [0, 1, 1, 0]
PROBABILITIES = [0.2, 0.5, 0.9, 0.6]
CUT = [0, 1, 1, 1]
TEXTS = ["ham", "spam", "spam", "ham"]


def read(raw: Any, labels: Any = TRUTH, **more: Any) -> Predictions:
    return read_predictions(raw, as_column(labels, "The labels"), "The predictions", **more)


TWO_COLUMNS = np.column_stack([1 - np.array(PROBABILITIES), PROBABILITIES])


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(PROBABILITIES, id="list"),
        pytest.param(tuple(PROBABILITIES), id="tuple"),
        pytest.param(np.array(PROBABILITIES), id="array"),
        pytest.param(
            np.array(PROBABILITIES, dtype=np.float32).astype(float).round(6), id="float32"
        ),
        pytest.param(np.array(PROBABILITIES)[:, None], id="one column"),
        pytest.param(pd.Series(PROBABILITIES, index=[9, 8, 7, 6]), id="Series"),
        pytest.param(pd.Series(PROBABILITIES, dtype="Float64"), id="nullable Series"),
        pytest.param(pd.DataFrame({"score": PROBABILITIES}), id="DataFrame"),
        pytest.param(TWO_COLUMNS, id="two columns"),
        pytest.param(TWO_COLUMNS.tolist(), id="list of lists"),
        pytest.param(pd.DataFrame(TWO_COLUMNS), id="DataFrame of two columns"),
        pytest.param(pd.DataFrame(TWO_COLUMNS[:, ::-1], columns=[1, 0]), id="named columns"),
        pytest.param(pd.DataFrame(TWO_COLUMNS[:, ::-1], columns=["1", "0"]), id="text names"),
        pytest.param(np.array(PROBABILITIES, dtype=object), id="objects"),
    ],
)
def test_probabilities_are_cut_at_one_half_and_kept_as_scores(raw: Any) -> None:
    found = read(raw)
    assert found.labels is not None
    assert found.scores is not None
    assert found.labels.tolist() == CUT
    assert np.allclose(found.scores, PROBABILITIES)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([0, 1, 1, 1], id="ints"),
        pytest.param([False, True, True, True], id="booleans"),
        pytest.param(pd.Series([0, 1, 1, 1], dtype="Int64"), id="nullable ints"),
        pytest.param(pd.Categorical([0, 1, 1, 1]), id="categories"),
        pytest.param(np.array([0, 1, 1, 1], dtype=np.uint8), id="bytes"),
    ],
)
def test_labels_are_labels_and_give_no_scores(raw: Any) -> None:
    found = read(raw)
    assert found.labels is not None
    assert found.labels.tolist() == CUT
    assert found.scores is None
    assert "needs scores" in found.no_scores


def test_probabilities_of_text_labels_are_of_the_second_class_in_sorted_order() -> None:
    found = read(PROBABILITIES, TEXTS)
    assert found.labels is not None
    assert found.labels.tolist() == ["ham", "spam", "spam", "spam"]
    by_name = read(pd.DataFrame({"spam": PROBABILITIES, "ham": TWO_COLUMNS[:, 0]}), TEXTS)
    assert by_name.labels is not None
    assert by_name.labels.tolist() == ["ham", "spam", "spam", "spam"]
    assert by_name.scores is not None
    assert by_name.scores.tolist() == PROBABILITIES


@pytest.mark.parametrize("labels", [TEXTS, pd.Series(TEXTS), pd.Series(TEXTS, dtype="category")])
def test_text_labels_are_labels(labels: Any) -> None:
    found = read(["spam", "spam", "eggs", "ham"], labels)
    assert found.labels is not None
    assert found.labels.tolist() == ["spam", "spam", "eggs", "ham"]
    assert found.scores is None


@pytest.mark.parametrize("labels", [[1, 2, 2, 1], [-1, 1, 1, -1], [0.5, 1.0, 1.0, 0.5]])
def test_numbers_that_are_classes_are_labels_not_probabilities(labels: list[float]) -> None:
    found = read([labels[0], labels[1], labels[0], labels[0]], labels)
    assert found.labels is not None
    assert found.labels.tolist() == [labels[0], labels[1], labels[0], labels[0]]


def test_classes_as_floats_are_labels_where_there_are_several() -> None:
    found = read([0.0, 1.0, 2.0, 2.0], [0, 1, 2, 1])
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 2]


def test_several_columns_give_the_likeliest_class_and_a_score_for_each() -> None:
    table = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3]])
    found = read(table, [0, 1, 2, 1])
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert found.scores is not None
    assert found.scores.shape == (4, 3)
    logits = read(table * 10 - 3, [0, 1, 2, 1])
    assert logits.labels is not None
    assert logits.labels.tolist() == [0, 1, 2, 0]
    assert (logits.scores, "add up to 1" in logits.no_scores) == (None, True)


def test_a_class_without_rows_may_have_a_column() -> None:
    table = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3]])
    found = read(table, [0, 1, 1, 0])
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 0]


def test_margins_rank_but_are_no_labels() -> None:
    found = read([-2.5, 0.1, 3.0, 1.5])
    assert found.labels is None
    assert "between -2.5 and 3" in found.no_labels
    assert found.scores is not None


def test_one_probability_does_not_tell_three_classes_apart() -> None:
    found = read([0.1, 0.5, 0.7, 0.2], [0, 1, 2, 1])
    assert found.labels is None
    assert "3 classes" in found.no_labels


def test_a_classifiers_probabilities_are_its_scores_beside_its_labels() -> None:
    found = read(
        ["spam", "ham", "spam", "ham"], TEXTS, scores=TWO_COLUMNS, score_classes=["ham", "spam"]
    )
    assert found.labels is not None
    assert found.labels.tolist() == ["spam", "ham", "spam", "ham"]
    assert found.scores is not None
    assert found.scores.tolist() == PROBABILITIES


@pytest.mark.parametrize(
    ("raw", "labels", "message"),
    [
        ([0.1, 0.2], TRUTH, "2 rows, and the labels 4"),
        ([0.1, np.nan, 0.2, 0.3], TRUTH, "1 missing"),
        ([0.1, np.inf, 0.2, 0.3], TRUTH, "infinite"),
        ([0.1, None, 0.2, 0.3], TRUTH, "NoneType"),
        (["a", 1, "b", "c"], TEXTS, "int, str"),
        ([0, 1, 1, 0], TEXTS, "numbers, and the labels text"),
        (["0", "1", "1", "0"], TRUTH, "text, and the labels numbers"),
        ([[0.1, 0.2, 0.7]] * 4, TEXTS, "3 columns, and the labels hold 2 classes"),
        ([["a", "b"]] * 4, TEXTS, "columns of text"),
        ([[[0.1]]] * 4, TRUTH, "dimensions"),
        ([], TRUTH, "empty"),
        (None, TRUTH, "list or array"),
        ("0101", TRUTH, "list or array"),
        ([[0.1], [0.1, 0.2], [0.3], [0.4]], TRUTH, "array"),
        ([1j, 0j, 1j, 0j], TRUTH, "complex"),
    ],
)
def test_what_fits_nothing_is_refused(raw: Any, labels: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read(raw, labels)


@pytest.mark.parametrize(
    ("raw", "labels"),
    [([1.0, 2.0], [1.0, 2.0, 3.0]), (["a", "b"], [1.0, 2.0]), ([1.0, 2.0], ["a", "b"])],
)
def test_numbers_have_to_be_numbers_of_the_same_rows(raw: Any, labels: Any) -> None:
    with pytest.raises(InvalidInputError):
        read_values(raw, as_column(labels, "The labels"), "The predictions")
