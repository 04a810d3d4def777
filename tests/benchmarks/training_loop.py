"""A training loop that logs ten metrics in each step, with the server up, slow and down."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

from mlflow import MlflowClient
from mlflow.entities import Metric as MlflowMetric

from tests.benchmarks.harness import Bench, Figure, benchmark, median, without_collector
from tests.support.mlflow_server import MlflowServer
from tests.support.ports import free_port
from tests.support.waiting import wait_for

STEP_SECONDS = 1e-3
SLOW_SECONDS = 0.2
_ROUNDS = 8
"""Of blocks of steps without and with logging; the median of their ratios is given."""
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


@contextmanager
def slow_link(port: int) -> Iterator[str]:
    """Hand a server's answers on with a delay; gives the address for clients."""
    closing = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)

    def relay(source: socket.socket, target: socket.socket, delay: float) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                closing.wait(delay)
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while not closing.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                continue
            server = socket.create_connection(("127.0.0.1", port))
            client.settimeout(None)
            for ends in ((client, server, 0.0), (server, client, SLOW_SECONDS)):
                threading.Thread(target=relay, args=ends, daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        closing.set()
        acceptor.join()
        listener.close()


def per_step(work: Work, log: Callable[[int], object], steps: int) -> float:
    """Give the seconds that one step takes, logging included."""
    with without_collector():
        began = time.perf_counter()
        for step in range(steps):
            work()
            log(step)
        return (time.perf_counter() - began) / steps


@benchmark("training-loop")
def training_loop(bench: Bench) -> list[Figure]:
    steps = bench.count(100_000, least=500)
    work = Work()
    figures = []
    server = MlflowServer(bench.new_folder())
    with server, slow_link(server.port) as slow:
        server.give_way()
        down = f"http://127.0.0.1:{free_port()}"
        for state, uri in (("up", server.url), ("slow (200 ms)", slow), ("down", down)):
            peers = _peers(bench, work, uri, state, steps)
            for mode, (name, share) in _MODES.items():
                figures.append(_beside(bench, work, (uri, state, mode, name), share, steps, peers))
    return figures


def _beside(
    bench: Bench,
    work: Work,
    where: tuple[str, str, str, str],
    share: float,
    steps: int,
    peers: str,
) -> Figure:
    uri, state, mode, name = where
    run = bench.manager(uri, delivery="queued", durability=mode).start_run()
    metrics = {f"m{one}": 0.5 for one in range(10)}
    per_step(work, lambda step: run.log_metrics(metrics, step=step), 100)
    plain, ours = [], []
    for part in range(_ROUNDS):
        run._runtime.hurry()
        if state == "up":
            wait_for(lambda: run._runtime.waiting() == 0, 60.0)
        with _busy(uri) if state == "up" else nullcontext():
            plain.append(per_step(work, lambda _: None, steps // _ROUNDS))
        first = 1000 + part * steps
        ours.append(
            per_step(
                work,
                lambda step, first=first: run.log_metrics(metrics, step=first + step),
                steps // _ROUNDS,
            )
        )
    more = median(sorted(own / bare - 1 for own, bare in zip(ours, plain, strict=True)))
    bare, own = median(sorted(plain)), median(sorted(ours))
    run._runtime.drainer.stop(10)
    run._runtime.close_connections()
    return Figure(
        f"training step of 1 ms, 10 metrics, {name}, server {state}",
        f"{own * 1e3:.3f} ms, {more:+.1%}",
        f"no logging {bare * 1e3:.3f} ms{peers}",
        f"within {share:.0%} of no logging",
        more <= share,
    )


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
    with subprocess.Popen(
        [sys.executable, "-c", _LOAD, uri], stdout=subprocess.PIPE, process_group=0, text=True
    ) as load:
        os.setpriority(os.PRIO_PROCESS, load.pid, 19)
        try:
            assert load.stdout is not None
            assert load.stdout.readline() == "ready\n"
            yield
        finally:
            load.kill()


def _peers(bench: Bench, work: Work, uri: str, state: str, steps: int) -> str:
    """Time MLflow's own client; not where the server is down: one call would take four minutes."""
    if state == "down":
        return "; MLflow stands still for 247 s at the first call"
    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id

    def points(step: int) -> list[MlflowMetric]:
        return [MlflowMetric(f"m{one}", 0.5, int(time.time() * 1000), step) for one in range(10)]

    few = max(20, min(steps // 50, 200))
    if state != "up":
        few = 10
    plain = per_step(work, lambda step: client.log_batch(run_id, points(step)), few)
    waiting = []
    asynchronous = per_step(
        work,
        lambda step: waiting.append(client.log_batch(run_id, points(step), synchronous=False)),
        few,
    )
    for one in waiting:
        one.wait()
    return f"; MLflow {plain * 1e3:.1f} ms, async {asynchronous * 1e3:.2f} ms"
