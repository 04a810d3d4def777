"""What to do with a candidate, by a fixed rule over the improvements of its metrics.

The threshold and both rules are those of the existing Hokusai services, so that old and new
recommendations mean the same. Intervals are reported beside them and change nothing.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from hokusai_core import validation
from hokusai_core.errors import InvalidInputError

Recommendation = Literal["ACCEPT", "REVIEW", "REJECT"]

THRESHOLD = 0.01
"""The smallest change of a metric that counts."""

_ENOUGH = 2


def recommend(improvements: Mapping[str, float]) -> Recommendation:
    """Recommend what to do with a candidate.

    Args:
        improvements: By metric; positive is better, whatever the metric's direction.

    Returns:
        REJECT where any metric is worse by more than 0.01 or none is better by more than 0.01,
        ACCEPT where at least two are better by more, REVIEW where one is.
    """
    better = sum(change > THRESHOLD for change in improvements.values())
    worse = sum(change < -THRESHOLD for change in improvements.values())
    if worse or not better:
        return "REJECT"
    return "ACCEPT" if better >= _ENOUGH else "REVIEW"


def generate_recommendation(comparison_results: Mapping[str, Any]) -> dict[str, Any]:
    """Say whether to deploy a candidate, how sure that is, and why.

    Args:
        comparison_results: What ``compare_models`` returned, or any mapping with ``comparison``
            ({metric: {delta, improved}}) or ``improvements`` ({metric: delta}).

    Returns:
        ``should_deploy``, ``confidence`` ("high", "medium" or "low"), ``reasoning``,
        ``improvements_count`` and ``regressions_count``. A regression is a change beyond 0.01 for
        the worse; any change for the better is an improvement.

    Raises:
        InvalidInputError: There is neither of the two, or a delta is no number.
    """
    given = validation.mapping(comparison_results, "comparison_results")
    deltas, improved = _changes(given)
    regressions = [name for name, delta in deltas.items() if delta < -THRESHOLD]
    should_deploy, confidence, reasoning = _verdict(len(deltas), improved, regressions)
    return {
        "should_deploy": should_deploy,
        "confidence": confidence,
        "reasoning": reasoning,
        "improvements_count": len(improved),
        "regressions_count": len(regressions),
    }


def _verdict(
    count: int, improved: list[str], regressions: list[str]
) -> tuple[bool, Literal["high", "medium", "low"], str]:
    if regressions:
        named = ", ".join(regressions)
        return False, "high", f"Found {len(regressions)} metric regressions: {named}."
    if not count:
        return False, "low", "No metric could be compared."
    share = f"{len(improved)} of {count} metrics improved"
    if len(improved) == count:
        return True, "high", f"All metrics improved ({', '.join(improved)})."
    if len(improved) * 2 > count:
        return True, "medium", f"{share}, and none regressed."
    return False, "low", f"Only {share}."


def _changes(given: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
    if "comparison" in given:
        entries = validation.mapping(given["comparison"], "comparison")
        deltas = _defined({name: _delta(entry, name) for name, entry in entries.items()})
        improved = [
            name for name, delta in deltas.items() if entries[name].get("improved", delta > 0)
        ]
        return deltas, improved
    if "improvements" in given:
        changes = validation.mapping(given["improvements"], "improvements")
        deltas = _defined(
            {name: validation.metric_value(change, str(name)) for name, change in changes.items()}
        )
        return deltas, [name for name, delta in deltas.items() if delta > 0]
    raise InvalidInputError(
        "comparison_results has neither 'comparison' nor 'improvements': pass what compare_models "
        "returned."
    )


def _defined(deltas: dict[str, float]) -> dict[str, float]:
    """Leave out what older results hold for an undefined metric: NaN is no change."""
    return {name: delta for name, delta in deltas.items() if not math.isnan(delta)}


def _delta(entry: object, name: object) -> float:
    if not isinstance(entry, Mapping) or "delta" not in entry:
        raise InvalidInputError(f"comparison[{name!r}] has no 'delta'.")
    return validation.metric_value(entry["delta"], str(name))
