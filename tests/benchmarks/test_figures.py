"""Every benchmark runs, small: ``pytest -m benchmark``. For figures, ``python -m tests.benchmarks``."""

from collections.abc import Iterator

import pytest

from tests.benchmarks import __main__ as program
from tests.benchmarks.harness import BENCHMARKS, Bench

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("benchmarks"), scale=0.02)
    yield bench
    bench.close()


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_benchmark(name: str, bench: Bench) -> None:
    figures = BENCHMARKS[name](bench)
    assert figures
    print(program.report.table(figures))
