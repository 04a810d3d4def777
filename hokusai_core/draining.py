"""Emptying a journal: until nothing is left, or nothing can go on."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hokusai_core.claim_progress import Step
from hokusai_core.errors import JournalUnavailableError, NotStoredError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Backlog
from hokusai_core.sync import SyncWorker
from hokusai_core.woken_thread import WokenThread

logger = logging.getLogger(__name__)

LINGER_SECONDS = 0.5
"""How long queued delivery lets writes gather before they are sent: few requests, few commits."""

_FEW = 500
"""Deliveries of one step from which on it is worth while to go on with the stream at once."""

_JOURNAL_ATTEMPTS = 3
"""Attempts in a row in which the journal fails and nothing is settled: then a drain gives up."""

_POLL_SECONDS = 0.2
_IDLE_SECONDS = 1.0


@dataclass
class DrainReport:
    """What a drain came to.

    ``reasons`` names each stream that still waits and why; ``others`` are the waiting operations of
    other destinations, which were left alone. ``spool_unreachable`` says why nobody can tell what is in
    the spool; "" where that answered, or where there is none.
    """

    delivered: int = 0
    dead: int = 0
    left: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    spool_unreachable: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing of this destination waits any more, as far as a sync can see it."""
        return self.left == 0 and not self.spool_unreachable


class Drain:
    """Runs workers until the backlog of one destination is empty, or no stream can go on.

    Args:
        journal: What to empty.
        destination: Whose operations.
        worker: Makes a worker; each thread has its own.
        forward: Moves into the journal what is not there yet.
        left_elsewhere: Counts what could not be moved into the journal.
        threads: How many streams are in flight at once.
        prune: Called at the end of each run; deletes old entries now and then.
    """

    def __init__(
        self,
        journal: Journal,
        destination: str,
        worker: Callable[[], SyncWorker],
        forward: Callable[[], object],
        left_elsewhere: Callable[[], int],
        threads: int,
        prune: Callable[[], int] = lambda: 0,
    ) -> None:
        self._journal = journal
        self._destination = destination
        self._worker = worker
        self._forward = forward
        self._left_elsewhere = left_elsewhere
        self._threads = threads
        self._prune = prune

    def run(
        self,
        *,
        wait_seconds: float,
        stop: threading.Event,
        on_progress: Callable[[DrainReport, Backlog], None] = lambda report, backlog: None,
        report: DrainReport | None = None,
    ) -> DrainReport:
        """Deliver until nothing is left, nothing can go on within ``wait_seconds``, or ``stop``.

        What a spool cannot give to the journal does not keep the journal's own from being delivered.

        Args:
            wait_seconds: How long to wait for entries that fall due later, since the last progress.
            stop: Ends the drain after the steps in hand.
            on_progress: Called with the figures about every fifth of a second.
            report: Where to count; also right where this raises. Not given, a new one.

        Raises:
            JournalUnavailableError: The journal cannot be reached, in several attempts.
        """
        report = DrainReport() if report is None else report
        last_progress = time.monotonic()
        failures = 0
        while not stop.is_set():
            settled = report.delivered + report.dead
            try:
                in_the_way = _failure_of(self._forward)
                delivered = self._run_workers(report, stop, on_progress)
                backlog = self._journal.journal_backlog(self._destination)
                left = self._note(report, backlog, in_the_way)
            except JournalUnavailableError:
                # A local file with many writers is busy at times, and so is the disk below it.
                failures = 1 if report.delivered + report.dead > settled else failures + 1
                if failures == _JOURNAL_ATTEMPTS:
                    raise
                stop.wait(_POLL_SECONDS)
                continue
            failures = 0
            on_progress(report, backlog)
            if left == 0:
                break
            now = time.monotonic()
            if delivered:
                last_progress = now
                continue
            due_in = min(
                (stream.next_attempt_at - backlog.now for stream in backlog.streams),
                default=_IDLE_SECONDS,
            )
            if now + max(due_in, 0.0) > last_progress + wait_seconds:
                break
            stop.wait(min(max(due_in, _POLL_SECONDS), _IDLE_SECONDS))
        self._prune()
        return report

    def _note(self, report: DrainReport, backlog: Backlog, in_the_way: str) -> int:
        report.left = backlog.by_destination.get(self._destination, 0)
        report.others = {
            name: count
            for name, count in backlog.by_destination.items()
            if name != self._destination and count
        }
        report.reasons = {
            stream.stream: stream.error
            or (f"waiting for {stream.waiting_for}" if stream.waiting_for else "not due yet")
            for stream in backlog.streams
        }
        try:
            elsewhere = self._left_elsewhere()
            report.spool_unreachable = ""
        except JournalUnavailableError as failure:
            elsewhere = 0
            report.spool_unreachable = str(failure)
        if elsewhere:
            report.left += elsewhere
            report.reasons["spool"] = in_the_way or "not in the journal yet"
        return report.left

    def _run_workers(
        self,
        report: DrainReport,
        stop: threading.Event,
        on_progress: Callable[[DrainReport, Backlog], None],
    ) -> int:
        """Let the threads work until none finds a stream that is due; give what was settled."""
        lock = threading.Lock()
        settled = 0
        failures: list[BaseException] = []

        def work() -> None:
            nonlocal settled
            worker = self._worker()
            try:
                while not stop.is_set():
                    step = worker.run_once()
                    with lock:
                        report.delivered += step.delivered
                        report.dead += step.dead
                        settled += step.delivered + step.dead
                    if step.kind == "idle" or (step.kind == "held" and not step.stream):
                        return
            except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits
                failures.append(failure)

        threads = [
            threading.Thread(target=work, name=f"hokusai-sync-{number}", daemon=True)
            for number in range(self._threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
                if thread.is_alive():
                    on_progress(report, Backlog())
        if failures:
            raise failures[0]
        return settled


class BackgroundDrainer(WokenThread):
    """The thread of this process that delivers what this process queued.

    Args:
        step: Delivers one stream; called again at once while it makes progress.
        forward: Moves into the journal what is not there yet; called while it answers.
        waiting: Counts what is left of this destination.
        on_empty: Called when nothing is left.
        linger: Seconds that writes are let gather before they are claimed; 0 for none.
    """

    in_other_process = False
    """A thread of this process delivers; what waits in files is not appended elsewhere."""

    def __init__(
        self,
        step: Callable[[], Step],
        forward: Callable[[], int],
        waiting: Callable[[], int],
        on_empty: Callable[[], None],
        linger: float = 0.0,
    ) -> None:
        super().__init__("hokusai-drainer")
        self._linger = linger
        self._step = step
        self._forward = forward
        self._waiting = waiting
        self._on_empty = on_empty

    def _run(self) -> None:
        last_defect = ""
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                pause = self._round()
            except (JournalUnavailableError, NotStoredError) as failure:
                # Metrics that wait in memory and cannot be stored: their buffer tells it.
                logger.debug("The drainer waits for the journal: %s", failure)
                pause = _IDLE_SECONDS
            except Exception as defect:
                if repr(defect) != last_defect:
                    logger.exception(
                        "The drainer met a defect; what waits is kept and tried again."
                    )
                last_defect = repr(defect)
                pause = _IDLE_SECONDS
            if self._linger:
                self._at_once.clear()
            if pause is None:
                self._woken.wait()
                pause = self._linger
            if self._linger and not self._stopping.is_set():
                self._at_once.wait(min(pause, _IDLE_SECONDS))
            else:
                self._stopping.wait(min(pause, _IDLE_SECONDS))

    def _round(self) -> float | None:
        """Deliver what is due. Gives the seconds until the next look; None where nothing is left."""
        if failure := _failure_of(self._forward):
            logger.debug("What is not in the journal yet stays where it is: %s", failure)
        seen: set[str] = set()
        while not self._stopping.is_set():
            step = self._step()
            if self._linger and step.stream in seen and step.delivered < _FEW:
                return self._linger
            seen.add(step.stream)
            if step.kind == "idle":
                if self._waiting():
                    return _POLL_SECONDS
                self._on_empty()
                return None
            if step.kind == "held" and not step.stream:
                return max(step.retry_in, 0.01)
        return None


def _failure_of(forward: Callable[[], object]) -> str:
    """Move into the journal what is not there yet; give what was in the way, "" for nothing.

    Where that was the journal itself, whoever asks it next is told so, too.
    """
    try:
        forward()
    except (JournalUnavailableError, NotStoredError) as failure:
        return str(failure)
    return ""
