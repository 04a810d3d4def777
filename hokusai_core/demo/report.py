"""What the demo came to, as a value and as a table."""

from pydantic import computed_field
from rich.console import Console
from rich.table import Table

from hokusai_core.demo.audit import Count
from hokusai_core.operations import Value


class Check(Value):
    """One thing that must hold, in words."""

    what: str
    right: bool


class DemoReport(Value):
    """What was logged, and what the server holds of it.

    Times are in seconds. ``slowest_call`` names the logging call that took longest in the whole
    training, the outage included; saving and registering the model is told apart, as serialising a
    model takes its own time.
    """

    counts: tuple[Count, ...]
    checks: tuple[Check, ...]
    slowest_call: str
    slowest_seconds: float
    registration_seconds: float
    outage_seconds: float
    logged_in_outage: int
    delivered_by_sync: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def right(self) -> bool:
        """Whether every count is right and every check holds."""
        return all(count.right for count in self.counts) and all(
            check.right for check in self.checks
        )


def print_report(report: DemoReport, console: Console) -> None:
    """Print the counts as a table, and the rest below."""
    table = Table(title="What the server itself says", title_justify="left")
    table.add_column("what")
    for column in ("expected", "found", "duplicates"):
        table.add_column(column, justify="right")
    table.add_column("")
    for count in report.counts:
        table.add_row(
            count.what,
            str(count.expected),
            str(count.found),
            str(count.duplicates),
            _mark(right=count.right),
        )
    console.print(table)
    for check in report.checks:
        console.print(f"{_mark(right=check.right):5} {check.what}")
    console.print(
        f"The server was away for {report.outage_seconds:.1f} s; {report.logged_in_outage} calls "
        f"were made meanwhile, and {report.delivered_by_sync} operations delivered afterwards."
    )
    console.print(
        f"Slowest logging call: {report.slowest_seconds:.2f} s ({report.slowest_call}). Saving and "
        f"registering the model while the server was away: {report.registration_seconds:.2f} s."
    )
    console.print("Nothing was lost, nothing is double." if report.right else "SOMETHING IS WRONG.")


def _mark(*, right: bool) -> str:
    return "ok" if right else "WRONG"
