"""What a benchmark is made of: figures beside their peers, taken in turns, as medians and ratios."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sqlalchemy.engine import make_url

from hokusai_core import ExperimentManager, Settings
from tests.support.mlflow_server import MlflowServer
from tests.support.postgres import PostgresServer, embedded_server


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Args:
        what: What was measured.
        ours: The figure, with its unit.
        peer: The same of the peer in the same run, with its name and unit; "" for none.
        target: What is to be reached.
        reached: Whether it is.
    """

    what: str
    ours: str
    peer: str
    target: str
    reached: bool


@dataclass
class Bench:
    """What benchmarks share: servers, started with their first use, and sizes.

    Args:
        folder: For everything that is written.
        scale: 1.0 for the sizes of the documentation; less for a quick look.
    """

    folder: Path
    scale: float = 1.0
    _cleanup: ExitStack = field(default_factory=ExitStack)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    @cached_property
    def mlflow_url(self) -> str:
        """A real MLflow server with one worker, on SQLite."""
        return self._cleanup.enter_context(MlflowServer(self.folder / "mlflow")).url

    @cached_property
    def postgres(self) -> PostgresServer:
        """A real PostgreSQL server that writes through to the disk, as in production."""
        server = PostgresServer(make_url(self._cleanup.enter_context(embedded_server())))
        with server._connect() as connection:
            connection.execute("ALTER SYSTEM SET fsync = on")
            connection.execute("ALTER SYSTEM SET full_page_writes = on")
            connection.execute("SELECT pg_reload_conf()")
        return server

    def new_folder(self) -> Path:
        """Give a folder of its own."""
        folder = self.folder / f"part{next(self._numbers)}"
        folder.mkdir(parents=True)
        return folder

    def count(self, full: int, *, least: int = 1) -> int:
        """Give a size, scaled."""
        return max(least, int(full * self.scale))

    def manager(self, uri: str, **settings: object) -> ExperimentManager:
        """Make a manager on an MLflow server with a journal of its own."""
        values = {"data_dir": self.new_folder(), "exit_timeout": 0.0} | settings
        return ExperimentManager(
            "benchmarks", mlflow_tracking_uri=uri, settings=Settings.load(**values)
        )

    def close(self) -> None:
        """Stop what was started."""
        self._cleanup.close()


Benchmark = Callable[[Bench], list[Figure]]
BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Register a benchmark under a name for ``--only``."""

    def register(function: Benchmark) -> Benchmark:
        BENCHMARKS[name] = function
        return function

    return register


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector out of the times."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def in_turns(
    calls: dict[str, Callable[[int], object]], *, rounds: int, block: int = 1
) -> dict[str, list[float]]:
    """Time calls in blocks that take turns, so that all see the same machine; seconds, sorted.

    Args:
        calls: By name; each gets a number that counts up.
        rounds: Blocks of each.
        block: Calls in a row.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    number = 0
    with without_collector():
        for turn in range(rounds + 1):
            for name, call in calls.items():
                for _ in range(block):
                    began = time.perf_counter()
                    call(number)
                    took = time.perf_counter() - began
                    number += 1
                    if turn:  # the first round warms up
                        times[name].append(took)
    return {name: sorted(taken) for name, taken in times.items()}


def in_pairs(
    theirs: Callable[[int], object], ours: Callable[[int], object], *, rounds: int
) -> list[tuple[float, float]]:
    """Time two calls one right after the other, the first in turns; gives both times of each pair.

    What the machine does meanwhile is the same for both of a pair, so that a difference can be seen
    which is far smaller than the times themselves.
    """
    pairs = []
    with without_collector():
        for number in range(rounds + 2):
            took = {}
            for name, call in (("theirs", theirs), ("ours", ours))[:: 1 if number % 2 else -1]:
                began = time.perf_counter()
                call(number)
                took[name] = time.perf_counter() - began
            pairs.append((took["theirs"], took["ours"]))
    return pairs[2:]


def median_of_differences(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Give the median of what ours take more, and the 95 % interval of that median."""
    differences = sorted(ours - theirs for theirs, ours in pairs)
    middle, width = len(differences) / 2, 0.98 * len(differences) ** 0.5
    low, high = max(0, int(middle - width)), min(len(differences) - 1, int(middle + width))
    return percentile(differences, 0.5), differences[low], differences[high]


def percentile(times: list[float], share: float) -> float:
    """Give a percentile of sorted times."""
    return times[min(len(times) - 1, int(len(times) * share))]


def median(times: list[float]) -> float:
    """Give the median of sorted times."""
    return percentile(times, 0.5)


def micro(seconds: float) -> str:
    """Show a time in microseconds."""
    return f"{seconds * 1e6:.0f} µs" if seconds >= 1e-5 else f"{seconds * 1e6:.1f} µs"


def milli(seconds: float) -> str:
    """Show a time in milliseconds."""
    return f"{seconds * 1e3:.2f} ms"


def timed(call: Callable[[], object]) -> float:
    """Time one call, in seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
