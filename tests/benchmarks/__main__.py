"""Runs the benchmarks: ``python -m tests.benchmarks [--only NAME] [--scale 0.1] [--write]``."""

import argparse
import logging
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.benchmarks import (  # noqa: F401 - they register themselves
    calls,
    catching_up,
    comparing,
    large_files,
    process_costs,
    queue_speed,
    report,
    training_loop,
)
from tests.benchmarks.harness import BENCHMARKS, Bench, Figure


def main() -> int:
    """Run, print each figure when it is there, and give 1 where one is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--only", action="append", choices=sorted(BENCHMARKS), default=[])
    parser.add_argument("--scale", type=float, default=0.1, help="1.0 for the full sizes")
    parser.add_argument("--write", action="store_true", help="write the figures into the page")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    figures: list[Figure] = []
    broken = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), options.scale)
        try:
            for name in options.only or BENCHMARKS:
                os.sync()  # what the one before has written is not the burden of the next
                began = time.perf_counter()
                try:
                    found = BENCHMARKS[name](bench)
                except Exception:  # noqa: BLE001 - the others go on
                    traceback.print_exc()
                    broken.append(name)
                    continue
                figures += found
                for one in found:
                    mark = "ok    " if one.reached else "MISSED"
                    print(f"{mark} {one.what}: {one.ours} | {one.peer} | {one.target}", flush=True)
                print(f"       ({name}: {time.perf_counter() - began:.1f} s)", flush=True)
        finally:
            bench.close()
    if options.write and not broken:
        report.write(figures, everything=not options.only)
    missed = sum(not one.reached for one in figures)
    print(
        f"{len(figures) - missed} of {len(figures)} reached"
        + (f"; broken: {broken}" if broken else "")
    )
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
