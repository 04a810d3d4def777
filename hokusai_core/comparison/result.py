"""What a comparison returns."""

from collections.abc import Mapping
from typing import Any

from hokusai_core.comparison.rendering import html_report, text_report


class ModelComparison(dict[str, Any]):
    """The result of :meth:`ExperimentManager.compare_models`: a dict that also shows itself.

    ``print(result)`` gives a text report, a notebook shows a table, and :meth:`plot` draws the
    improvements. The keys, all of whose values can be written as JSON:

    ===================  ===========================================================================
    ``baseline_id``      as it was given; likewise ``candidate_id``
    ``baseline_metrics`` {metric: value}; likewise ``candidate_metrics``. An undefined one is absent
    ``improvements``     {metric: change}; positive is better, whatever the metric's direction
    ``comparison``       {metric: {"delta": change, "improved": bool}}
    ``recommendation``   ACCEPT, REVIEW or REJECT
    ``test_dataset``     the name of the test data; "unknown" where none was given
    ``undefined``        {metric: reason} of what is not in ``improvements``
    ``intervals``        {metric: {"low", "high"}} of the improvement
    ``confidence``       of these intervals, such as 0.95
    ``notes``            {metric: what to know about the number}
    ``run_id``           the run that holds the figures; provisional while that waits
    ``sync_state``       ``delivered`` or ``pending``: whether the run is on the primary
    ===================  ===========================================================================
    """

    @property
    def run_id(self) -> str:
        """The run that holds the figures."""
        return str(self["run_id"])

    @property
    def sync_state(self) -> str:
        """Whether that run was on the primary when the comparison returned."""
        return str(self["sync_state"])

    @property
    def recommendation(self) -> str:
        """ACCEPT, REVIEW or REJECT."""
        return str(self["recommendation"])

    @property
    def improvements(self) -> Mapping[str, float]:
        """The change of each metric; positive is better."""
        found: Mapping[str, float] = self["improvements"]
        return found

    @property
    def undefined(self) -> Mapping[str, str]:
        """Why a metric has no number, by metric."""
        found: Mapping[str, str] = self["undefined"]
        return found

    @property
    def intervals(self) -> Mapping[str, Mapping[str, float]]:
        """Ends of the interval of each improvement: ``low`` and ``high``."""
        found: Mapping[str, Mapping[str, float]] = self["intervals"]
        return found

    def __str__(self) -> str:
        return text_report(self)

    def _repr_html_(self) -> str:
        return html_report(self)

    def plot(self, ax: Any = None) -> Any:
        """Draw each metric's improvement with its interval.

        Args:
            ax: Matplotlib axes to draw on; not given, a new figure.

        Returns:
            The matplotlib figure.

        Raises:
            BackendNotInstalledError: matplotlib is not installed.
        """
        from hokusai_core.comparison.plotting import plot_improvements

        return plot_improvements(self, ax)
