"""A comparison as a text, as HTML and as a picture."""

import json
import sys
from typing import Any

import pytest

from hokusai_core import (
    BackendNotInstalledError,
    ExperimentManager,
    InvalidInputError,
    ModelComparison,
)


@pytest.fixture
def comparison() -> ModelComparison:
    return ModelComparison(
        baseline_id="fraud/3",
        candidate_id="fraud@<new>",
        baseline_metrics={"accuracy": 0.85, "rmse": 123456.789, "recall": 0.5},
        candidate_metrics={"accuracy": 0.87, "rmse": 0.00012},
        improvements={"accuracy": 0.02, "rmse": 123456.78888},
        comparison={
            "accuracy": {"delta": 0.02, "improved": True},
            "rmse": {"delta": 123456.78888, "improved": True},
        },
        recommendation="ACCEPT",
        test_dataset="hold-out & more",
        undefined={"auroc": "the labels hold one class only (1)", "recall": "candidate: why"},
        intervals={"accuracy": {"low": -0.01, "high": 0.03}},
        confidence=0.9,
        notes={"rmse": "A note."},
        run_id="r1",
        sync_state="delivered",
    )


def test_the_text_holds_every_number_once_and_why_others_are_missing(
    comparison: ModelComparison,
) -> None:
    lines = str(comparison).splitlines()
    assert lines[0] == "Model Comparison Report"
    assert lines[3:6] == [
        "baseline  fraud/3",
        "candidate fraud@<new>",
        "test data hold-out & more",
    ]
    table = {line.split()[0]: line for line in lines[7:12]}
    assert table["accuracy"].split() == [
        *("accuracy", "0.8500", "0.8700", "+0.0200"),
        *("-0.0100", "to", "+0.0300"),
    ]
    assert "lower is better" in table["rmse"]
    assert table["rmse"].split()[4:] == ["123456.7890", "0.00012", "+123456.7889", "-"]
    assert table["auroc"].split()[1:4] == ["undefined"] * 3
    assert table["recall"].split()[1:4] == ["0.5000", "undefined", "undefined"]
    assert "90 % interval" in lines[7]
    assert "auroc is undefined: the labels hold one class only (1)." in lines
    assert "rmse: A note." in lines
    assert lines[-1] == "Recommendation: ACCEPT"
    assert len({len(line) for line in lines[8:10]}) <= 2


def test_a_report_is_made_of_older_results_too() -> None:
    older = {
        "baseline_metrics": {"accuracy": 0.8},
        "candidate_metrics": {"accuracy": 0.9},
        "improvements": {"accuracy": 0.1},
        "recommendation": "REVIEW",
    }
    text = ExperimentManager.format_report(older)
    assert "accuracy    0.8000     0.9000      +0.1000" in text
    assert text.endswith("Recommendation: REVIEW")
    without = ExperimentManager.format_report({**older, "improvements": {}})
    assert without.splitlines()[4].split() == ["accuracy", "0.8000", "0.9000", "undefined"]


@pytest.mark.parametrize("broken", [{}, [], None, {"baseline_metrics": {}}])
def test_a_report_of_what_is_no_comparison_is_refused(broken: Any) -> None:
    with pytest.raises(InvalidInputError):
        ExperimentManager.format_report(broken)


def test_a_notebook_shows_a_table_in_which_names_are_data(comparison: ModelComparison) -> None:
    page = comparison._repr_html_()
    assert page.count("<tr>") == 5
    assert "fraud@&lt;new&gt;" in page
    assert "hold-out &amp; more" in page
    assert "<new>" not in page
    assert "<strong>ACCEPT</strong>" in page


def test_a_plot_shows_each_improvement_and_changes_nothing_global(
    comparison: ModelComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = comparison.plot()
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rmse", "accuracy"]
    assert len(axes.lines) == 4  # two points, one interval, the line at no change
    assert comparison.plot(axes) is figure
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BackendNotInstalledError, match="pip install matplotlib"):
        comparison.plot()


def test_a_comparison_is_a_dict_that_can_be_written_as_json(comparison: ModelComparison) -> None:
    assert isinstance(comparison, dict)
    assert json.loads(json.dumps(comparison)) == comparison
    read: tuple[Any, ...] = (
        comparison.run_id,
        comparison.sync_state,
        comparison.recommendation,
        comparison.improvements,
        comparison.undefined,
        comparison.intervals,
    )
    keys = ("run_id", "sync_state", "recommendation", "improvements", "undefined", "intervals")
    assert read == tuple(comparison[key] for key in keys)
