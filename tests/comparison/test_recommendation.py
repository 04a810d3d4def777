"""The rules: what they recommend, and at which values they change their mind."""

from typing import Any

import pytest

from hokusai_core import ExperimentManager, InvalidInputError
from hokusai_core.comparison.recommendation import recommend

FIVE = ("accuracy", "auroc", "f1_score", "precision", "recall")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((0.02, 0.02, 0, 0, 0), "ACCEPT"),
        ((0.02, 0.011, 0.0, -0.01, -0.01), "ACCEPT"),
        ((0.02, 0.01, 0, 0, 0), "REVIEW"),
        ((0.5, 0, 0, 0, 0), "REVIEW"),
        ((0.01, 0.01, 0.01, 0.01, 0.01), "REJECT"),
        ((0, 0, 0, 0, 0), "REJECT"),
        ((0.5, 0.5, 0.5, 0.5, -0.0101), "REJECT"),
        ((-0.01, 0.02, 0.02, 0, 0), "ACCEPT"),
    ],
)
def test_the_rule_counts_changes_beyond_one_hundredth(
    changes: tuple[float, ...], expected: str
) -> None:
    assert recommend(dict(zip(FIVE, changes, strict=True))) == expected


def compared(**changes: float) -> dict[str, Any]:
    return {
        "comparison": {
            name: {"delta": change, "improved": change > 0} for name, change in changes.items()
        }
    }


@pytest.mark.parametrize(
    ("results", "deploy", "confidence", "reason", "counts"),
    [
        (compared(accuracy=0.1, recall=0.001), True, "high", "All metrics improved", (2, 0)),
        (compared(accuracy=0.1, recall=-0.02), False, "high", "1 metric regressions", (1, 1)),
        (compared(a=-0.1, b=-0.02), False, "high", "2 metric regressions", (0, 2)),
        (compared(a=0.1, b=0.1, c=-0.01), True, "medium", "2 of 3 metrics improved", (2, 0)),
        (compared(a=0.1, b=0.0), False, "low", "Only 1 of 2", (1, 0)),
        (compared(), False, "low", "No metric could be compared", (0, 0)),
        ({"improvements": {"a": 0.1}}, True, "high", "All metrics improved", (1, 0)),
        (compared(a=0.1, b=float("nan")), True, "high", "All metrics improved", (1, 0)),
        ({"comparison": {"a": {"delta": 0.1}}}, True, "high", "All metrics improved", (1, 0)),
    ],
)
def test_whether_to_deploy_and_why(
    results: dict[str, Any], deploy: bool, confidence: str, reason: str, counts: tuple[int, int]
) -> None:
    found = ExperimentManager.generate_recommendation(results)
    assert (found["should_deploy"], found["confidence"]) == (deploy, confidence)
    assert reason in found["reasoning"]
    assert (found["improvements_count"], found["regressions_count"]) == counts


@pytest.mark.parametrize(
    "results",
    [
        {},
        None,
        "ACCEPT",
        {"comparison": [1]},
        {"comparison": {"a": 0.1}},
        {"comparison": {"a": {"improved": True}}},
        {"comparison": {"a": {"delta": "much"}}},
        {"improvements": {"a": None}},
    ],
)
def test_what_is_no_comparison_is_refused(results: Any) -> None:
    with pytest.raises(InvalidInputError):
        ExperimentManager.generate_recommendation(results)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"test_size": 0.2},
        {"metrics": ["accuracy", "rmse"]},
        {"metrics": [], "test_size": 0.5, "anything": object()},
    ],
)
def test_a_configuration_that_is_right_is_accepted(config: dict[str, Any]) -> None:
    assert ExperimentManager.validate_config(config) is True


@pytest.mark.parametrize(
    "config",
    [
        {"test_size": 0},
        {"test_size": 1},
        {"test_size": 1.5},
        {"test_size": -0.1},
        {"test_size": "0.2"},
        {"test_size": True},
        {"test_size": float("nan")},
        {"metrics": ["accuracy", "nonsense"]},
        {"metrics": "accuracy"},
        [("test_size", 0.2)],
    ],
)
def test_a_configuration_that_is_wrong_is_refused(config: Any) -> None:
    with pytest.raises(ValueError, match=r"test_size|metric|dict") as refused:
        ExperimentManager.validate_config(config)
    assert isinstance(refused.value, InvalidInputError)
