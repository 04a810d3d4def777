"""Shows a person how a sync gets on."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hokusai_core.draining import DrainReport
from hokusai_core.journal import Backlog, EntryQuery, StreamBacklog
from hokusai_core.printable import printable
from hokusai_core.runtime import Runtime

_SILENT_SECONDS = 2.0
_REPEAT_SECONDS = 15.0


class SyncProgress:
    """A bar where a terminal shows it, and a line now and then that says what is waited for.

    To be passed as ``on_progress`` to :meth:`~hokusai_core.draining.Drain.run`.

    Args:
        console: Where to print.
        runtime: Whose backlog is delivered.
        quiet: Print nothing at all.
    """

    def __init__(self, console: Console, runtime: Runtime, *, quiet: bool = False) -> None:
        self._console = console
        self._runtime = runtime
        self._quiet = quiet
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("delivering", total=None)
        self._settled = -1
        self._say_at = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, report: DrainReport, backlog: Backlog) -> None:
        """Take the figures; a backlog without a time holds none and only the report counts."""
        settled = report.delivered + report.dead
        self._bar.update(self._task, completed=settled)
        if not backlog.now:
            return
        left = backlog.by_destination.get(self._runtime.destination, 0)
        self._bar.update(self._task, total=settled + left)
        if settled != self._settled:
            self._settled = settled
            self._say_at = self._runtime.clock.monotonic() + _SILENT_SECONDS
            self._bar.update(self._task, description="delivering")
        elif left and backlog.streams:
            self._show_waiting(backlog)

    def _show_waiting(self, backlog: Backlog) -> None:
        streams = backlog.streams
        first = min(streams, key=lambda stream: (not stream.error, stream.next_attempt_at))
        due_in = max(0.0, min(stream.next_attempt_at for stream in streams) - backlog.now)
        self._bar.update(self._task, description=f"waiting {due_in:.0f} s")
        if self._quiet or self._runtime.clock.monotonic() < self._say_at:
            return
        self._say_at = self._runtime.clock.monotonic() + _REPEAT_SECONDS
        more = f" (and {len(streams) - 1} more)" if len(streams) > 1 else ""
        self._console.print(
            printable(
                f"Still waiting: {first.stream}{more}, next attempt in {due_in:.0f} s: "
                f"{self._reason(first)}"
            ),
            markup=False,
            highlight=False,
        )

    def _reason(self, stream: StreamBacklog) -> str:
        if self._may_have_been_applied(stream.stream):
            return (
                "the server may have created it before the answer was lost; it is left alone until "
                f"a late effect would show (HOKUSAI_LATE_EFFECT_SECONDS). {stream.error}"
            )
        if stream.error:
            return stream.error
        return f"waiting for {stream.waiting_for}" if stream.waiting_for else "not due yet"

    def _may_have_been_applied(self, stream: str) -> bool:
        """Whether the next operation is a creation that waits out the late-effect window."""
        if self._runtime.fallback is None:
            return False
        query = EntryQuery(destination=self._runtime.destination, streams=(stream,), limit=1)
        return any(
            entry.maybe_applied
            and entry.operation is not None
            and entry.operation.late_effects_matter
            for entry in self._runtime.fallback.read(query)
        )
