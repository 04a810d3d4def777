"""An id that nobody knows is searched for ever more seldom; the journal is asked as often as ever."""

import itertools

import pytest

from hokusai_core.errors import UnavailableError
from hokusai_core.operations import CreateExperiment, CreateRun
from tests.sync.test_worker import Bench, batch

LOOK_SECONDS = 5.0
LOOKS = 120
SEARCH = "tracking_find_by_op_id"


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.append(CreateExperiment(name="e"))
    bench.steps()
    return bench


@pytest.fixture
def searches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the primary was searched."""
    times: list[float] = []
    search = bench.primary.tracking.tracking_find_by_op_id

    def noted(*arguments: object) -> object:
        times.append(bench.clock.monotonic())
        return search(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.primary.tracking, SEARCH, noted)
    return times


def wait_in_vain(bench: Bench) -> CreateRun:
    """Let a worker wait for a run of another journal for ten minutes."""
    elsewhere = CreateRun(experiment_id="1", run_name="r", start_time=1)
    bench.append(batch(elsewhere, tags={"a": "b"}))
    for _ in range(LOOKS):
        bench.steps(LOOK_SECONDS)
    assert len(bench.entries()) == 1
    return elsewhere


def test_pauses_between_searches_grow_up_to_a_limit(bench: Bench, searches: list[float]) -> None:
    elsewhere = wait_in_vain(bench)
    pauses = [later - earlier for earlier, later in itertools.pairwise(searches)]
    assert pauses == sorted(pauses)
    assert pauses[0] == LOOK_SECONDS
    assert len(searches) < 10
    bench.mock.store.apply(elsewhere)
    for _ in range(61):
        bench.steps(LOOK_SECONDS)
    assert bench.entries() == []


def test_what_the_journal_learns_is_used_at_the_next_look(
    bench: Bench, searches: list[float]
) -> None:
    elsewhere = wait_in_vain(bench)
    before = len(searches)
    receipt = bench.mock.store.apply(elsewhere)
    bench.journal.journal_note(elsewhere, bench.mock.destination, receipt.primary_id)
    bench.steps(LOOK_SECONDS)
    assert bench.entries() == []
    assert len(searches) == before


def test_a_search_that_failed_is_made_again_soon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []

    def failing(*_: object) -> object:
        times.append(bench.clock.monotonic())
        raise UnavailableError("HTTP 503")

    monkeypatch.setattr(bench.primary.tracking, SEARCH, failing)
    wait_in_vain(bench)
    assert len(times) == LOOKS
