"""A process that delivers, and that ends or pauses itself at a chosen point of the protocol.

:func:`work` is the program. :class:`Workers` starts it as many times as a test needs; every worker
is forked from one process that has imported everything already, so that a start takes milliseconds.
"""

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from hokusai_core.errors import HokusaiError
from hokusai_core.resolution import select_backends
from hokusai_core.runtime import Runtime
from hokusai_core.settings import Settings
from hokusai_core.watched import watched
from tests.support.waiting import wait_for

Place = Literal["primary", "journal", "spool"]


@dataclass(frozen=True)
class Point:
    """A place in the protocol: the ``count``-th call of a hook, just before or after it.

    ``reading`` is the ``count``-th megabyte that is read of a waiting artifact's bytes.
    """

    place: Place
    hook: str
    moment: Literal["before", "after", "reading"]
    count: int = 1

    def __str__(self) -> str:
        """As the name of a test."""
        return f"{self.moment}-{self.place}-{self.hook}-{self.count}"


@dataclass(frozen=True)
class Job:
    """What a worker does: drain a journal into a server, and meet its fate at ``point``.

    ``wait_seconds`` is how long it waits for what falls due later.
    """

    tracking_uri: str
    settings: dict[str, Any]
    point: Point | None = None
    fate: signal.Signals = signal.SIGKILL
    wait_seconds: float = 0.0


@dataclass
class Outcome:
    """What a worker that lived tells at its end.

    ``after_point`` names the exception that came out of the call at the point, "" for none.
    ``grown_bytes`` is by how much the process's memory grew while it drained.
    """

    delivered: int = 0
    dead: int = 0
    left: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    after_point: str = ""
    grown_bytes: int = 0


def work(job: Job, answer: Connection) -> None:
    """Drain, and tell what came of it."""
    import hokusai_backend_mlflow.client
    import hokusai_backend_mlflow.stores  # noqa: F401 - its import is no part of what is measured

    # Past the check of the lease, which has to be short here: others wait for its end.
    given = dict(job.settings)
    lease = {name: given.pop(name) for name in ("lease_seconds",) if name in given}
    settings = Settings.load(**given, lease_seconds=3600.0).model_copy(update=lease)
    runtime = Runtime.shared(
        select_backends(settings=settings, tracking_uri=job.tracking_uri, backend="mlflow")
    )
    outcome = Outcome()
    if job.point:
        _arm(runtime, job.point, job.fate, outcome)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = runtime.drain().run(wait_seconds=job.wait_seconds, stop=threading.Event())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome.delivered, outcome.dead, outcome.left = report.delivered, report.dead, report.left
    outcome.reasons = report.reasons
    outcome.grown_bytes = (after - before) * 1024
    runtime.close_connections()
    answer.send(outcome)


def _arm(runtime: Runtime, point: Point, fate: signal.Signals, outcome: Outcome) -> None:
    """Let the process meet its fate at the point."""
    assert runtime.fallback is not None
    hooks: Any = {
        "primary": lambda: runtime.primary.get().tracking,
        "journal": lambda: runtime.fallback and runtime.fallback.journal,
        "spool": lambda: runtime.fallback and runtime.fallback.spool,
    }[point.place]()
    original: Callable[..., Any] = getattr(hooks, point.hook)
    lock = threading.Lock()
    calls = 0

    def strike() -> None:
        # Sent to this thread, which then does not take one step more; a signal to the process may
        # reach another thread first.
        signal.pthread_kill(threading.get_ident(), fate)

    def instrumented(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        with lock:
            calls += 1
            here = calls == point.count
        if here and point.moment == "before":
            strike()
        try:
            result = original(*arguments, **named)
        except HokusaiError as error:
            if here:
                outcome.after_point = type(error).__name__
            raise
        if here and point.moment == "after":
            strike()
        return result

    def reading(*arguments: Any, **named: Any) -> Any:
        def count() -> None:
            nonlocal calls
            calls += 1
            if calls == point.count:
                strike()

        return watched(original(*arguments, **named), count)

    setattr(hooks, point.hook, reading if point.moment == "reading" else instrumented)


class Worker:
    """One such process, seen from the test."""

    def __init__(self, context: Any, job: Job) -> None:
        self._answers, answer = context.Pipe(duplex=False)
        self._process = context.Process(target=work, args=(job, answer))
        self._process.start()
        answer.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is paused."""
        return bool(self._process.is_alive())

    def ended_by(self, seconds: float = 60.0) -> int:
        """Wait for the process's end; gives its exit status, negative for a signal."""
        self._process.join(seconds)
        status = self._process.exitcode
        assert status is not None, f"the worker still runs after {seconds} s"
        return int(status)

    def outcome(self, seconds: float = 60.0) -> Outcome:
        """Wait for the process's end; gives what it tells."""
        assert self._answers.poll(seconds), "the worker ended without a word, or hangs"
        outcome: Outcome = self._answers.recv()
        assert self.ended_by(seconds) == 0
        return outcome

    def wait_until_paused(self, seconds: float = 60.0) -> None:
        """Wait until a signal has stopped the process."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        assert wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", seconds)

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._process.join()
        self._answers.close()


class Workers:
    """Starts workers, and ends all that are left when the test is over."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.sync.preloaded"])
        self._started: list[Worker] = []

    def start(self, job: Job) -> Worker:
        """Start one."""
        worker = Worker(self._context, job)
        self._started.append(worker)
        return worker

    def close(self) -> None:
        """End all."""
        for worker in self._started:
            worker.kill()
