"""A training loop that logs ten metrics in each step, with the server up, slow and down."""

import hashlib
import itertools
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from operator import attrgetter
from typing import Literal, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Metric as MlflowMetric

from hokusai_core.runtime import Runtime
from tests.benchmarks.harness import Bench, Figure, benchmark, median, without_collector
from tests.benchmarks.slow_link import SLOW_SECONDS, slow_link
from tests.support.mlflow_server import MlflowServer
from tests.support.ports import free_port
from tests.support.waiting import wait_for
from tests.support.when_idle import when_idle

STEP_SECONDS = 1e-3
_ROUNDS = 20
"""Of a block of steps without logging and one with; the median of their ratios is given."""
_PAGES = 64
State = Literal["up", "slow", "down"]
_STATES: dict[State, str] = {
    "up": "up",
    "slow": f"slow ({SLOW_SECONDS * 1e3:.0f} ms)",
    "down": "down",
}
_MODES = {
    "relaxed": ("queued, `relaxed`", 0.02),
    "process": ("queued, `process`", 0.04),
}


class Work:
    """A step of a fixed amount of work, about a millisecond, that lets other threads run."""

    def __init__(self) -> None:
        self._data = b"x" * 200_000
        times = sorted(self._once() for _ in range(50))
        self._data = b"x" * int(200_000 * STEP_SECONDS / times[25])

    def _once(self) -> float:
        began = time.perf_counter()
        hashlib.sha256(self._data).digest()
        return time.perf_counter() - began

    def __call__(self) -> None:
        """Do one step."""
        hashlib.sha256(self._data).digest()


class StepTimes(NamedTuple):
    """The seconds of a step, logging included: of one of many, and of the one in the middle."""

    mean: float
    middle: float


def per_step(work: Work, log: Callable[[int], object], steps: int) -> StepTimes:
    """Time a block of steps."""
    with without_collector():
        now = time.perf_counter
        ends = [now()]
        for step in range(steps):
            work()
            log(step)
            ends.append(now())
    each = sorted(end - begin for begin, end in itertools.pairwise(ends))
    return StepTimes((ends[-1] - ends[0]) / steps, median(each))


class ColdPages:
    """Memory of which a byte in each page is read after each step; tells a slow hour of the machine.

    What is logged between two steps lies in pages that the step did not use. Where reading these takes
    longer than before, so does each call of anything.
    """

    def __init__(self) -> None:
        self._memory = bytearray(_PAGES * mmap.PAGESIZE)
        self._seconds: list[float] = []

    def measure(self, work: Work, steps: int) -> None:
        """Do some steps, and note how long it takes to read the pages after one."""
        memory, size = self._memory, mmap.PAGESIZE
        taken = 0.0
        with without_collector():
            for _ in range(steps):
                work()
                began = time.perf_counter()
                for at in range(0, _PAGES * size, size):
                    memory[at]
                taken += time.perf_counter() - began
        self._seconds.append(taken / steps)

    def __str__(self) -> str:
        mean = sum(self._seconds) / len(self._seconds)
        return f"{_PAGES} pages read between two steps {mean * 1e6:.0f} µs"


@benchmark("training-loop-up")
def training_loop_up(bench: Bench) -> list[Figure]:
    with MlflowServer(bench.new_folder(), gives_way=True) as server:
        return _figures(bench, server.url, "up", _peers(bench, server.url, 200))


@benchmark("training-loop-slow")
def training_loop_slow(bench: Bench) -> list[Figure]:
    with (
        MlflowServer(bench.new_folder(), gives_way=True) as server,
        slow_link(server.port) as uri,
    ):
        return _figures(bench, uri, "slow", _peers(bench, uri, 10))


@benchmark("training-loop-down")
def training_loop_down(bench: Bench) -> list[Figure]:
    uri = f"http://127.0.0.1:{free_port()}"
    return _figures(bench, uri, "down", "; MLflow stands still for 247 s at the first call")


class Loop:
    """A loop in blocks without and with logging, in turns.

    Args:
        bench: Makes managers.
        uri: The server.
        mode: The durability.
        state: Of the server.
    """

    def __init__(self, bench: Bench, uri: str, mode: str, state: State) -> None:
        self.mode = mode
        self.state = state
        self._bench = bench
        self._uri = uri
        self._work = Work()
        self._metrics = {f"m{one}": 0.5 for one in range(10)}
        self.pages = ColdPages()

    def times(self, steps: int, auto_sync: str | bool) -> tuple[list[StepTimes], list[StepTimes]]:
        """Give the seconds of a step without logging, before and after each round, and with."""
        manager = self._bench.manager(
            self._uri, delivery="queued", durability=self.mode, auto_sync=auto_sync
        )
        run = manager.start_run()
        numbers = itertools.count()
        plain, ours = [], []

        def log(_: int) -> None:
            run.log_metrics(self._metrics, step=next(numbers))

        def bare() -> StepTimes:
            with self._quiet(manager.runtime):
                self.pages.measure(self._work, max(1, steps // _ROUNDS // 10))
                return per_step(self._work, lambda _: next(numbers), steps // _ROUNDS)

        per_step(self._work, log, 100)
        plain.append(bare())
        for _ in range(_ROUNDS):
            ours.append(per_step(self._work, log, steps // _ROUNDS))
            plain.append(bare())
        manager.runtime.drainer.stop(10)
        manager.runtime.close_connections()
        return plain, ours

    @contextmanager
    def _quiet(self, runtime: Runtime) -> Iterator[None]:
        """Let nothing of Hokusai run in a block without logging; the server is as busy as with it."""
        pid = None
        if self.state == "up":
            runtime.hurry()
            wait_for(lambda: runtime.waiting() == 0, 120.0)
        else:
            runtime.points.gather()
            pid = getattr(runtime.drainer, "pid", None)
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
        try:
            with nullcontext() if self.state == "down" else _busy(self._uri):
                yield
        finally:
            if pid is not None:
                os.kill(pid, signal.SIGCONT)


def _figures(bench: Bench, uri: str, state: State, peers: str) -> list[Figure]:
    steps = bench.count(100_000, least=800)
    return [_figure(Loop(bench, uri, mode, state), steps, peers) for mode in _MODES]


def _figure(loop: Loop, steps: int, peers: str) -> Figure:
    name, share = _MODES[loop.mode]
    plain, ours = loop.times(steps, "process")
    more, middle = (_more(plain, ours, of) for of in (_mean, _middle))
    pages = str(loop.pages)
    if loop.state == "up":
        by_thread = _more(*loop.times(steps // 5, True), _mean)
        peers = f"; delivered by a thread {by_thread:+.1%}{peers}"
    return Figure(
        f"training step of 1 ms, 10 metrics, {name}, server {_STATES[loop.state]}",
        f"{median(sorted(map(_mean, ours))) * 1e3:.3f} ms, {more:+.1%} (the median step {middle:+.1%})",
        f"no logging {median(sorted(map(_mean, plain))) * 1e3:.3f} ms; {pages}{peers}",
        f"within {share:.0%} of no logging",
        more <= share,
    )


_mean = attrgetter("mean")
_middle = attrgetter("middle")


def _more(plain: list[StepTimes], ours: list[StepTimes], of: Callable[[StepTimes], float]) -> float:
    """Give what a step with logging takes more, as a share: the median of the rounds.

    Each is compared with the blocks on both sides of it, so that a machine which gets faster or slower
    meanwhile does not count.
    """
    beside = ((of(before) + of(after)) / 2 for before, after in itertools.pairwise(plain))
    return median(sorted(of(own) / bare - 1 for own, bare in zip(ours, beside, strict=True)))


_LOAD = """
import sys, time
from mlflow import MlflowClient
from mlflow.entities import Metric

client = MlflowClient(sys.argv[1])
run_id = client.create_run("0").info.run_id
print("ready", flush=True)
step = 0
while True:
    now = int(time.time() * 1000)
    client.log_batch(run_id, [Metric(f"m{n % 10}", 0.5, now, step + n // 10) for n in range(1000)])
    step += 100
"""


@contextmanager
def _busy(uri: str) -> Iterator[None]:
    """Keep the server as busy as the loop that logs does.

    It runs on the same machine, and takes from the loop what a server elsewhere would not take.
    """
    command = when_idle([sys.executable, "-c", _LOAD, uri])
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0, text=True) as load:
        try:
            assert load.stdout is not None
            assert load.stdout.readline() == "ready\n"
            yield
        finally:
            load.kill()


def _peers(bench: Bench, uri: str, most: int) -> str:
    """Time MLflow's own client; not where the server is down: one call would take four minutes."""
    work = Work()
    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id

    def points(step: int) -> list[MlflowMetric]:
        return [MlflowMetric(f"m{one}", 0.5, int(time.time() * 1000), step) for one in range(10)]

    few = min(most, bench.count(2_000, least=20))
    plain = per_step(work, lambda step: client.log_batch(run_id, points(step)), few).mean
    waiting = []
    asynchronous = per_step(
        work,
        lambda step: waiting.append(client.log_batch(run_id, points(step), synchronous=False)),
        few,
    ).mean
    for one in waiting:
        one.wait()
    return f"; MLflow {plain * 1e3:.1f} ms, async {asynchronous * 1e3:.2f} ms"
