"""What the start of a process costs."""

import subprocess
import sys

from tests.benchmarks.harness import Bench, Figure, benchmark, median

_START = """
import sys, time
began = time.perf_counter()
import hokusai_core
imported = time.perf_counter()
hokusai_core.ExperimentManager()
made = time.perf_counter()
heavy = {"mlflow", "sqlalchemy", "pandas", "sklearn", "numpy", "rich", "typer"} & set(sys.modules)
print(imported - began, made - imported, ",".join(sorted(heavy)))
"""


@benchmark("start")
def start(bench: Bench) -> list[Figure]:
    imports, managers, heavy = [], [], set()
    for _ in range(bench.count(9, least=3)):
        done = subprocess.run(
            [sys.executable, "-c", _START],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=bench.new_folder(),
        )
        fields = done.stdout.split()
        imports.append(float(fields[0]))
        managers.append(float(fields[1]))
        heavy.update(fields[2].split(",") if fields[2:] else ())
    imported, made = median(sorted(imports)), median(sorted(managers))
    return [
        Figure(
            "`import hokusai_core`",
            f"{imported * 1e3:.0f} ms" + (f", with {', '.join(sorted(heavy))}" if heavy else ""),
            "",
            "at most 120 ms, nothing heavy",
            imported <= 0.12 and not heavy,
        ),
        Figure(
            "first `ExperimentManager()`",
            f"{made * 1e3:.1f} ms",
            "",
            "at most 20 ms",
            made <= 0.02,
        ),
    ]
