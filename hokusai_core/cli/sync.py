"""``hokusai sync``: deliver what waits."""

import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hokusai_core.cli.options import AsJson, Backend, TrackingUri, Wait, open_runtime
from hokusai_core.cli.output import console, duration, messages, print_json
from hokusai_core.draining import Drain, DrainReport
from hokusai_core.errors import ConfigurationError, JournalUnavailableError
from hokusai_core.journal import Backlog, EntryQuery
from hokusai_core.runtime import Runtime
from hokusai_core.signal_handlers import signals_handled
from hokusai_core.status import counted
from hokusai_core.sync_progress import SyncProgress
from hokusai_core.values import Value

if TYPE_CHECKING:
    from hokusai_core.metrics import SyncMetrics

_POLL_SECONDS = 1.0
_COUNTED_AT_ONCE = 1000


class SyncReport(Value):
    """What a sync came to; with ``--watch``, one for each round that settled something, in a line.

    ``delivered`` and ``dead`` count what was settled now, ``left`` what still waits; ``complete``
    says that nothing does. ``dead_letters`` counts all that this destination has refused and that is
    kept, earlier ones too; null with ``--watch``. ``reasons`` names streams that wait, each with its
    reason; ``others`` counts what waits for other destinations, which was left alone.
    ``spool_unreachable`` says why nobody can tell what is in this machine's spool; "" where that
    answered, or where there is none.
    """

    destination: str
    delivered: int
    dead: int
    left: int
    complete: bool
    reasons: dict[str, str]
    others: dict[str, int]
    spool_unreachable: str = ""
    dead_letters: int | None = None


def sync(
    wait: Wait = 90.0,
    watch: Annotated[bool, typer.Option("--watch", help="Go on for ever, as a daemon.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="With --watch: serve metrics for Prometheus at HOKUSAI_METRICS_HOST.",
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    backend: Backend = None,
    as_json: AsJson = False,
) -> None:
    """Deliver what waits in the journal to the primary.

    Exit code 0: nothing is left; 1: something cannot be delivered now, or was refused for good, now
    or earlier; 2: wrong settings, or no journal. Any number of these may run at once, on any machines.
    """
    if metrics_port is not None and not watch:
        raise ConfigurationError(
            "--metrics-port goes with --watch only. Add --watch, or leave it out."
        )
    out = messages()
    with open_runtime(tracking_uri, backend) as runtime, _stopped_by_signals() as stop:
        if watch:
            metrics = _serve_metrics(runtime, metrics_port, out)
            _watch(runtime, stop, out, metrics, as_json=as_json)
            return
        report = DrainReport()
        try:
            with SyncProgress(out, runtime, quiet=as_json) as progress:
                runtime.drain().run(
                    wait_seconds=wait, stop=stop, on_progress=progress, report=report
                )
        except JournalUnavailableError:
            if report.delivered or report.dead:
                out.print(_settled(report))
            raise
        dead_letters = _dead_letters(runtime)
    if as_json:
        figures = _figures(report, runtime.destination, dead_letters)
        print_json(figures.model_dump_json(indent=2))
    else:
        _print(report, dead_letters, runtime.destination, console(), interrupted=stop.is_set())
    raise typer.Exit(0 if report.complete and not report.dead and not dead_letters else 1)


def _serve_metrics(runtime: Runtime, port: int | None, out: Console) -> "SyncMetrics | None":
    if port is None:
        return None
    from hokusai_core.metrics import SyncMetrics

    metrics = SyncMetrics(runtime)
    host = runtime.settings.metrics_host
    out.print(f"Metrics at http://{host}:{metrics.serve(host, port)}/metrics")
    return metrics


def _watch(
    runtime: Runtime,
    stop: threading.Event,
    out: Console,
    metrics: "SyncMetrics | None",
    *,
    as_json: bool,
) -> None:
    """Deliver whatever comes, until a signal says to stop."""
    drain = runtime.drain()
    if not as_json:
        out.print(f"Watching the backlog of {runtime.destination}; SIGTERM or Ctrl-C ends it.")
    trouble_since: float | None = None
    while not stop.is_set():
        report, trouble = _round(drain, stop)
        if metrics:
            metrics.count(report)
        if trouble and trouble_since is None:
            trouble_since = time.monotonic()
            if not as_json:
                out.print(f"Waiting since now: {trouble}")
        if report.delivered or report.dead:
            if as_json:
                print_json(
                    _figures(report, runtime.destination).model_dump_json(), may_be_lost=True
                )
            else:
                out.print(_summary(report))
        if not trouble and trouble_since is not None:
            if not as_json:
                waited = duration(time.monotonic() - trouble_since)
                out.print(f"Going on after {waited}.")
            trouble_since = None
        stop.wait(_POLL_SECONDS)


def _round(drain: Drain, stop: threading.Event) -> tuple[DrainReport, str]:
    """Deliver what is due now; give the report, and what is in the way."""
    trouble = ""

    def look(_report: DrainReport, backlog: Backlog) -> None:
        nonlocal trouble
        failed = (stream for stream in backlog.streams if stream.error)
        trouble = next((f"{stream.stream}: {stream.error}" for stream in failed), "")

    report = DrainReport()
    try:
        drain.run(wait_seconds=0.0, stop=stop, on_progress=look, report=report)
    except JournalUnavailableError as failure:
        return report, str(failure)
    return report, trouble or report.spool_unreachable


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set, so that the step in hand is finished."""
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    with signals_handled((signal.SIGTERM, signal.SIGINT), ask_to_stop):
        yield stop


def _dead_letters(runtime: Runtime) -> int:
    """Count what this destination has refused for good and nobody has treated yet."""
    if runtime.fallback is None:
        return 0
    count = 0
    query = EntryQuery(destination=runtime.destination, states=("dead",), limit=_COUNTED_AT_ONCE)
    while found := runtime.fallback.journal.journal_read(query):
        count += len(found)
        query = query.model_copy(update={"after": found[-1].sequence})
    return count


def _figures(report: DrainReport, destination: str, dead_letters: int | None = None) -> SyncReport:
    return SyncReport(
        destination=destination,
        complete=report.complete,
        dead_letters=dead_letters,
        **dataclasses.asdict(report),
    )


def _settled(report: DrainReport, left: str = "") -> str:
    text = f"Delivered {counted(report.delivered, 'operation')}{left}"
    return f"{text}; {report.dead} were refused for good." if report.dead else f"{text}."


def _summary(report: DrainReport) -> str:
    return _settled(report, f"; {report.left} left")


def _print(
    report: DrainReport, dead_letters: int, destination: str, out: Console, *, interrupted: bool
) -> None:
    out.print(f"{destination}: {_summary(report)}")
    if interrupted:
        out.print("Stopped by a signal; what is left is kept.")
    for stream, reason in report.reasons.items():
        out.print(f"  {stream}: {reason}")
    if report.spool_unreachable:
        out.print(
            f"What is in this machine's spool, if anything, stays there: {report.spool_unreachable}"
        )
    if dead_letters:
        out.print(
            f"{counted(dead_letters, 'dead letter')}, refused for good and kept with the payload: see "
            "`hokusai queue list`; then `hokusai queue retry` or `hokusai queue discard`."
        )
    for other, count in sorted(report.others.items()):
        out.print(
            f"Left alone: {counted(count, 'operation')} for {other}. Deliver them with `hokusai sync "
            "--tracking-uri` and that server's address."
        )
