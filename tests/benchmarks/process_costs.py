"""What the start of a process costs."""

import os
import subprocess
import sys

from tests.benchmarks.harness import Bench, Figure, benchmark, median

_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
_START = """
import sys, time
began = time.perf_counter()
import hokusai_core
imported = time.perf_counter()
from hokusai_core import ExperimentManager, ModelRegistry
facades = time.perf_counter()
ExperimentManager()
made = time.perf_counter()
heavy = {"mlflow", "sqlalchemy", "pandas", "sklearn", "numpy", "rich", "typer"} & set(sys.modules)
print(imported - began, facades - began, made - facades, ",".join(sorted(heavy)))
"""
_PYDANTIC = """
import time
began = time.perf_counter()
from pydantic import BaseModel
class Point(BaseModel):
    key: str
print(time.perf_counter() - began)
"""


@benchmark("start")
def start(bench: Bench) -> list[Figure]:
    columns: list[list[float]] = [[], [], [], []]
    heavy: set[str] = set()
    for _ in range(bench.count(9, least=3)):
        *times, names = _printed(bench, _START)
        heavy.update(names.split(",") if names else ())
        for column, value in zip(columns, (*times, *_printed(bench, _PYDANTIC)), strict=True):
            column.append(float(value))
    imported, facades, made, pydantic = (median(sorted(column)) for column in columns)
    limit = "at most 120 ms, nothing heavy"
    return [
        Figure(
            "`import hokusai_core`",
            f"{imported * 1e3:.0f} ms",
            "",
            limit,
            imported <= 0.12 and not heavy,
        ),
        Figure(
            "`from hokusai_core import ExperimentManager, ModelRegistry`",
            f"{facades * 1e3:.0f} ms" + (f", with {', '.join(sorted(heavy))}" if heavy else ""),
            f"pydantic with one model {pydantic * 1e3:.0f} ms",
            "beside pydantic at most 120 ms, nothing heavy",
            facades - pydantic <= 0.12 and not heavy,
        ),
        Figure(
            "first `ExperimentManager()`",
            f"{made * 1e3:.1f} ms",
            "",
            "at most 20 ms",
            made <= 0.02,
        ),
    ]


def _printed(bench: Bench, program: str) -> list[str]:
    """Run a program in a new process, and give the words that it prints; "" where one is missing."""
    # As of an installed package: what is compiled is kept, wherever these benchmarks run.
    environment = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=bench.new_folder(),
    )
    return done.stdout.rstrip("\n").split(" ")
