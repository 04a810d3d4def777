"""A batch is settled while the next request of its claim is under way, and nothing is lost by it."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hokusai_core import ExperimentManager, Settings
from hokusai_core.entities import Receipt
from hokusai_core.errors import (
    JournalUnavailableError,
    LeaseLostError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Claim, Settlement
from hokusai_core.operations import CreateRun, LogBatch, MetricPoint
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for
from tests.sync.test_worker import Bench, batch

_EACH = 600
"""Two of these batches do not go into one request."""


def _nothing(_number: int) -> None:
    """Let it go on."""


class Settles:
    """A journal whose settlements of batches can be watched."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.before: Callable[[int], None] = _nothing
        self.count = 0
        self.under_way = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def journal_settle(self, claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        assert not self.under_way, "two at once"
        self.under_way += 1
        try:
            number, self.count = self.count, self.count + 1
            self.before(number)
            return self._journal.journal_settle(claim, settlements)
        finally:
            self.under_way -= 1


class Case:
    """A claim of several requests, of a run that is there."""

    def __init__(self, count: int = 3) -> None:
        self.bench = Bench()
        self.run: CreateRun = self.bench.begin()
        self.bench.steps()
        self.batches = [self._batch(number) for number in range(count)]
        self.bench.append(*self.batches)
        self.settles = Settles(self.bench.worker._journal)
        self.bench.worker._journal = self.settles  # type: ignore[assignment]
        self.sends = 0
        self.before_send: Callable[[int], None] = _nothing
        write = self.bench.primary.write

        def watched(operation: Any, deadline: Any, open_content: Any = None) -> Receipt:
            number, self.sends = self.sends, self.sends + 1
            self.before_send(number)
            return write(operation, deadline, open_content)

        self.bench.primary.write = watched  # type: ignore[method-assign]

    def _batch(self, number: int) -> LogBatch:
        points = tuple(
            MetricPoint(key="m", value=number, timestamp=1, step=number * _EACH + one)
            for one in range(_EACH)
        )
        return batch(self.run, metrics=points)

    def states(self) -> list[str]:
        every = self.bench.entries("waiting", "delivered", "dead")
        return [entry.state for entry in every if entry.kind == "log_batch"]

    def finish(self) -> None:
        """Deliver the rest; each point is there once."""
        self.settles.before = self.before_send = _nothing
        self.bench.steps(seconds=120.0)
        assert self.states() == ["delivered"] * len(self.batches)
        (run,) = self.bench.mock.store.runs()
        points = self.bench.mock.store.metric_history(run.info.run_id, "m")
        assert sorted(point.step for point in points) == list(range(len(self.batches) * _EACH))


@pytest.fixture
def case() -> Case:
    return Case()


def at(wanted: int, error: BaseException) -> Callable[[int], None]:
    """Give what raises an error at the call of that number."""

    def fail(number: int) -> None:
        if number == wanted:
            raise error

    return fail


def test_they_overlap(case: Case) -> None:
    settling, sending = threading.Event(), threading.Event()

    def before_settle(number: int) -> None:
        if number == 0:
            settling.set()
            assert sending.wait(10.0)

    def before_send(number: int) -> None:
        if number == 1:
            sending.set()
            assert settling.wait(10.0)

    case.settles.before, case.before_send = before_settle, before_send
    step = case.bench.worker.run_once()
    assert (step.kind, step.delivered) == ("progress", 3)
    assert settling.is_set()
    case.finish()


def test_there_is_one_settlement_at_a_time_and_each_before_the_end() -> None:
    case = Case(6)
    step = case.bench.worker.run_once()
    assert step.delivered == case.settles.count == case.sends == 6
    case.finish()


def test_one_thread_settles_and_ends_with_its_worker() -> None:
    before = set(threading.enumerate())

    def settling() -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread not in before and thread.name == "hokusai-settle"
        ]

    case = Case(6)
    assert case.bench.worker.run_once().delivered == 6
    [thread] = settling()
    case.finish()
    assert settling() == [thread]
    del case
    gc.collect()
    thread.join(10.0)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("auto_sync", "by"),
    [(True, {"hokusai-drainer"}), (False, {"hokusai-settle", "hokusai-sync-0"})],
)
def test_beside_a_job_with_queued_delivery_one_thread_does_both(
    auto_sync: bool, by: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(
        data_dir=tmp_path, fallback="sql", delivery="queued", auto_sync=auto_sync, sync_threads=1
    )
    manager = ExperimentManager("settling", backend=MockBackend(), settings=settings)
    runtime = manager.runtime
    assert runtime.fallback is not None
    journal = runtime.fallback.journal
    settled_by: set[str] = set()
    settle = journal.journal_settle

    def watched(claim: Claim, settlements: tuple[Settlement, ...]) -> int:
        settled_by.add(threading.current_thread().name)
        return settle(claim, settlements)

    monkeypatch.setattr(journal, "journal_settle", watched)
    with manager.start_run() as run:
        for step in range(5):
            run.log_metrics({f"m{one}": 0.5 for one in range(_EACH)}, step=step)
    if not auto_sync:
        runtime.drain().run(wait_seconds=10.0, stop=threading.Event())
    assert wait_for(lambda: runtime.waiting() == 0)
    assert settled_by == by
    runtime.drainer.stop(10.0)
    runtime.close_connections()


def test_without_a_thread_it_settles_at_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    assert case.bench.worker.run_once().delivered == case.settles.count == 3
    monkeypatch.undo()
    case.finish()


def test_the_next_one_fails(case: Case) -> None:
    case.before_send = at(1, UnavailableError("away"))
    step = case.bench.worker.run_once()
    assert (step.kind, step.delivered) == ("progress", 1)
    assert case.states() == ["delivered", "waiting", "waiting"]
    assert [entry.attempts for entry in case.bench.entries()] == [1, 0]
    assert [entry.maybe_applied for entry in case.bench.entries()] == [False, False]
    case.finish()


def test_the_next_one_is_refused(case: Case) -> None:
    case.before_send = at(1, RejectedError("no"))
    step = case.bench.worker.run_once()
    assert (step.delivered, step.dead) == (2, 1)
    assert case.states() == ["delivered", "dead", "delivered"]
    case.bench.journal.journal_retry((case.batches[1].op_id,))
    case.finish()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_claim_is_lost(case: Case, number: int) -> None:
    case.settles.before = at(number, LeaseLostError("another worker has it"))
    step = case.bench.worker.run_once()
    assert step.kind == "held"
    assert case.states() == ["delivered"] * number + ["waiting"] * (3 - number)
    assert case.sends == min(number + 2, 3), "at most one more was on its way"
    case.finish()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_journal_goes_away(case: Case, number: int) -> None:
    case.settles.before = at(number, JournalUnavailableError("away"))
    with pytest.raises(JournalUnavailableError):
        case.bench.worker.run_once()
    assert case.states() == ["delivered"] * number + ["waiting"] * (3 - number)
    sent = [entry.maybe_applied for entry in case.bench.entries()]
    assert all(sent), "what was sent and not settled is known as possibly applied"
    case.finish()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_ctrl_c_while_the_next_one_is_sent(case: Case, number: int) -> None:
    case.before_send = at(number, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        case.bench.worker.run_once()
    assert case.states() == ["delivered"] * number + ["waiting"] * (3 - number)
    case.finish()


def test_no_thread_begins_while_the_interpreter_ends(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert case.bench.worker.run_once().delivered == 3
    monkeypatch.undo()
    case.finish()
