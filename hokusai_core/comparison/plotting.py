"""A comparison as a picture, where matplotlib is installed."""

from collections.abc import Mapping
from typing import Any

from hokusai_core.errors import BackendNotInstalledError

_GOOD, _BAD = "tab:green", "tab:red"


def plot_improvements(comparison: Mapping[str, Any], ax: Any = None) -> Any:
    """Draw each metric's improvement as a point with its interval, and a line at no change.

    A figure made here is not known to ``pyplot``, so that nothing global changes and none has to be
    closed.

    Args:
        comparison: What ``compare_models`` returned.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The figure.

    Raises:
        BackendNotInstalledError: matplotlib is not installed.
    """
    improvements: Mapping[str, float] = comparison["improvements"]
    names = list(improvements)
    if ax is None:
        ax = _new_figure(len(names)).add_subplot()
    for place, name in enumerate(reversed(names)):
        change = improvements[name]
        ends = comparison["intervals"].get(name)
        colour = _GOOD if change > 0 else _BAD
        if ends:
            ax.plot([ends["low"], ends["high"]], [place, place], color=colour, linewidth=2)
        ax.plot([change], [place], marker="o", color=colour)
    ax.axvline(0.0, color="grey", linewidth=1)
    ax.set_yticks(range(len(names)), list(reversed(names)))
    ax.set_xlabel("improvement (right of the line: the candidate is better)")
    ax.set_title(
        f"{comparison['candidate_id']} against {comparison['baseline_id']}: "
        f"{comparison['recommendation']}"
    )
    return ax.figure


def _new_figure(rows: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as cause:
        raise BackendNotInstalledError(
            "plot() needs matplotlib: pip install matplotlib. print(result) shows the same as text."
        ) from cause
    return Figure(figsize=(7, 1.5 + 0.45 * rows), layout="constrained")
