"""A comparison of two models' predictions, beside scikit-learn's bare metrics of the same rows."""

import numpy as np

from hokusai_core.comparison.evaluation import ModelOutput, evaluate
from tests.benchmarks.harness import Bench, Figure, benchmark, in_turns, median
from tests.comparison.test_million_rows import bare


@benchmark("compare-models")
def compare_models(bench: Bench) -> list[Figure]:
    rows = bench.count(1_000_000, least=20_000)
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, rows)
    first, second = (
        np.clip(0.4 + 0.2 * labels + random.normal(0, noise, rows), 0, 1) for noise in (0.3, 0.2)
    )
    outputs = (ModelOutput(first), ModelOutput(second))
    times = in_turns(
        {
            "ours": lambda _: evaluate(labels, outputs),
            "bare": lambda _: bare(labels, (first, second)),
        },
        rounds=3,
    )
    own, theirs = median(times["ours"]), median(times["bare"])
    return [
        Figure(
            f"`compare_models` on {rows:,} predictions, with bootstrap intervals",
            f"{own * 1e3:,.0f} ms, {own / theirs:.2f} times",
            f"the metrics of scikit-learn alone: {theirs * 1e3:,.0f} ms",
            "at most 3 times",
            own <= 3 * theirs,
        )
    ]
