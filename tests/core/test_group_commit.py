"""The buffer of metrics: what is added is written once, in order, soon, and never lost silently."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from hokusai_core import group_commit
from hokusai_core.errors import JournalUnavailableError, NotStoredError
from hokusai_core.filed_group_commit import FiledGroupCommit
from hokusai_core.group_commit import GroupCommit
from hokusai_core.left_points import read_points
from hokusai_core.packed_points import Points
from hokusai_core.points_file import PointsFile
from tests.support.waiting import wait_for


class Sink:
    """Keeps what is written; fails while ``failure`` is set."""

    run_id = "run"

    def __init__(self) -> None:
        self.written: list[Points] = []
        self.expected: list[Points] = []
        self.calls = 0
        self.failure: BaseException | None = None

    def stamped(self, calls: Iterable[Points]) -> list[Points]:
        return list(calls)

    def stamped_call(self, points: Points) -> Points:
        return points

    def write_points(self, calls: Sequence[Points]) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        self.written.extend(calls)

    def expect_points(self, calls: Sequence[Points]) -> None:
        self.expected.extend(calls)


def points(count: int, first: int = 0) -> list[Points]:
    return [(("loss",), (number / 7,), number, number) for number in range(first, first + count)]


def add_all(group: GroupCommit, sink: Sink, calls: Sequence[Points]) -> None:
    for one in calls:
        group.add(sink, one)


def test_values_are_written_together_and_in_order() -> None:
    group, sink = GroupCommit(), Sink()
    for point in points(100):
        group.add(sink, point)
    group.flush()
    assert sink.written == points(100)
    assert sink.calls <= 2, "the flush of the thread at most besides"


def test_values_are_written_soon_without_a_flush() -> None:
    group, sink = GroupCommit(), Sink()
    for first in (0, 10, 20):
        add_all(group, sink, points(10, first))
        assert wait_for(lambda first=first: len(sink.written) == first + 10)
    assert sink.written == points(30)


def test_the_thread_lets_others_run_between_sorting_and_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str | float] = []

    class Watched(Sink):
        def stamped(self, calls: Iterable[Points]) -> list[Points]:
            happened.append("sorted")
            return super().stamped(calls)

        def write_points(self, calls: Sequence[Points]) -> None:
            happened.append("written")
            super().write_points(calls)

    def sleep(seconds: float) -> None:
        if threading.current_thread() is group._thread.thread:
            happened.append(seconds)
        real_sleep(seconds)

    real_sleep = time.sleep
    group, sink = GroupCommit(), Watched()
    monkeypatch.setattr(time, "sleep", sleep)
    add_all(group, sink, points(10))
    assert wait_for(lambda: "written" in happened)
    interval, *rest = happened[: happened.index("written") + 1]
    assert interval == group_commit.INTERVAL_SECONDS
    assert rest[0] == "sorted"
    assert isinstance(rest[1], float)
    assert 0 < rest[1] < group_commit.INTERVAL_SECONDS
    assert rest[2:] == ["written"]


@pytest.mark.usefixtures("slow_thread")
def test_a_flush_that_is_asked_for_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    group, sink = GroupCommit(), Sink()
    add_all(group, sink, points(10))
    slept: list[float] = []
    own = threading.get_ident()
    real_sleep = time.sleep

    def sleep(seconds: float) -> None:
        if threading.get_ident() == own:
            slept.append(seconds)
        real_sleep(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    group.flush()
    assert sink.written == points(10)
    assert not slept


@pytest.fixture
def slow_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test do what the thread does at an interval."""
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 60)


def two_files(folder: Path) -> tuple[PointsFile, PointsFile]:
    return PointsFile(folder, "somewhere"), PointsFile(folder, "somewhere")


def in_files(folder: Path) -> list[Points]:
    found = [read_points(path.read_bytes())[1] for path in folder.iterdir()]
    return [call for runs in found for call in runs.get("run", ())]


@pytest.mark.usefixtures("slow_thread")
def test_what_could_not_be_written_is_saved_in_the_file(tmp_path: Path) -> None:
    group, sink = GroupCommit((PointsFile(tmp_path, "somewhere"),)), Sink()
    sink.failure = NotStoredError("The journal is locked.", ())
    add_all(group, sink, points(3))
    with pytest.raises(NotStoredError):
        group.flush()
    assert in_files(tmp_path) == []
    sink.failure = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "flush", lambda: None)
        add_all(group, sink, points(3, 3))
    assert group.save()
    assert in_files(tmp_path) == points(6)
    assert FiledGroupCommit(two_files(tmp_path)).save(), "each call has written"
    assert not GroupCommit().save(), "there is no file"


def test_a_full_buffer_is_flushed_by_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MOST_POINTS", 10)
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 60)
    group, sink = GroupCommit(), Sink()
    for point in points(9):
        group.add(sink, point)
    group.add(sink, points(1, 9)[0])
    assert sink.written == []
    group.add(sink, points(1, 10)[0])
    assert sink.written == points(10)


def test_a_failed_flush_is_loud_keeps_its_values_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    group, sink, other = GroupCommit(), Sink(), Sink()
    sink.failure = NotStoredError("The disk is full.", ())
    add_all(group, sink, points(5))
    group.add(other, points(1)[0])
    with pytest.raises(NotStoredError, match="The disk is full"):
        group.flush()
    assert other.written == points(1), "the failure of one run is not that of another"
    with pytest.raises(NotStoredError, match="The disk is full"):
        group.add(sink, points(1, 99)[0])
    told = [one for one in caplog.records if one.levelname == "ERROR"]
    assert len(told) == 1, "once, not with each attempt"
    sink.failure = None
    group.add(sink, points(1, 5)[0])
    group.flush()
    assert sink.written == points(6)
    assert other.written == points(1)


def test_runs_do_not_wait_one_after_another_for_a_journal_that_is_away() -> None:
    group, sinks = GroupCommit(), [Sink() for _ in range(10)]
    away = JournalUnavailableError("The file is locked.")
    for number, sink in enumerate(sinks):
        sink.failure = NotStoredError("Kept nowhere.", (away,))
        add_all(group, sink, points(2, number))
    with pytest.raises(NotStoredError):
        group.flush()
    assert sum(sink.calls for sink in sinks) == 1
    for sink in sinks:
        sink.failure = None
    group.flush()
    for number, sink in enumerate(sinks):
        assert sink.written == points(2, number)


@pytest.mark.parametrize("filed", [False, True])
def test_a_full_buffer_says_that_this_calls_metrics_are_kept_nowhere(
    filed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(group_commit, "MOST_POINTS", 3)
    files = PointsFile(tmp_path, "somewhere"), PointsFile(tmp_path, "somewhere")
    group, sink = FiledGroupCommit(files) if filed else GroupCommit(), Sink()
    sink.failure = NotStoredError("The disk is full.", (OSError("The disk is full."),))
    add_all(group, sink, points(3))
    with pytest.raises(NotStoredError, match="of this call are kept nowhere") as refused:
        group.add(sink, points(1, 3)[0])
    where = f"wait in files in {tmp_path}" if filed else "wait in memory"
    assert f"These {where} and are tried again; log this call's again." in str(refused.value)
    assert f"metrics that {where} could not be stored, and are tried again" in caplog.text
    sink.failure = None
    group.flush()
    assert sink.written == points(3)


def test_ctrl_c_in_a_flush_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 60)
    group, sink = GroupCommit(), Sink()
    sink.failure = KeyboardInterrupt()
    add_all(group, sink, points(5))
    with pytest.raises(KeyboardInterrupt):
        group.flush()
    sink.failure = None
    group.flush()
    assert sink.written == points(5)


def test_values_of_a_run_that_nobody_holds_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 0.2)
    written: list[Points] = []

    class Held(Sink):
        group: GroupCommit

        def write_points(self, calls: Sequence[Points]) -> None:
            written.extend(calls)

    sink = Held()
    sink.group = GroupCommit()
    add_all(sink.group, sink, points(5))
    forgotten, thread = weakref.ref(sink), sink.group._thread.thread
    del sink
    gc.collect()
    assert wait_for(lambda: written == points(5))
    assert thread is not None

    def gone() -> bool:
        gc.collect()
        return forgotten() is None and not thread.is_alive()

    assert wait_for(gone)


def test_threads_lose_nothing() -> None:
    group, sink = GroupCommit(), Sink()

    def log(first: int) -> None:
        for point in points(2_000, first):
            group.add(sink, point)

    threads = [threading.Thread(target=log, args=(n * 2_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group.flush()
    assert sorted(sink.written, key=lambda one: one[3]) == points(8_000)
    for number in range(4):
        own = [one[3] for one in sink.written if one[3] // 2_000 == number]
        assert own == sorted(own)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_flushes_first_and_the_child_has_a_buffer_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 60)
    group, sink = GroupCommit(), Sink()
    add_all(group, sink, points(5))
    child = os.fork()
    if child == 0:
        group.reset_after_fork()
        known = sink.written == points(5)
        add_all(group, sink, points(5, 5))
        group.flush()
        os._exit(0 if known and sink.written == points(10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    group.flush()
    assert sink.written == points(5)


def test_what_a_file_keeps_is_accepted_while_the_journal_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MOST_POINTS", 10)
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 60)
    group, sink = FiledGroupCommit(two_files(tmp_path)), Sink()
    sink.failure = NotStoredError("The disk is full.", ())
    add_all(group, sink, points(4))
    with pytest.raises(NotStoredError, match="The disk is full"):
        group.flush()
    add_all(group, sink, points(6, 4))
    with pytest.raises(NotStoredError, match="The disk is full"):
        group.add(sink, points(1, 10)[0])
    contents = [read_points(path.read_bytes())[1] for path in tmp_path.iterdir()]
    in_files = [point for runs in contents for point in runs["run"]]
    assert sorted(in_files, key=lambda one: one[3]) == points(10)
    sink.failure = None
    group.add(sink, points(1, 10)[0])
    group.flush()
    assert sink.written == points(11)
    assert [read_points(path.read_bytes())[1] for path in tmp_path.iterdir()] == [{}, {}]
    group.close()
    assert list(tmp_path.iterdir()) == []


def test_what_no_file_takes_is_appended_at_once(tmp_path: Path) -> None:
    group, sink = FiledGroupCommit(two_files(tmp_path / "a" / "missing")), Sink()
    add_all(group, sink, points(3))
    assert sink.written == points(3)
    sink.failure = NotStoredError("The disk is full.", ())
    with pytest.raises(NotStoredError, match="The disk is full"):
        group.add(sink, points(1, 3)[0])


def test_a_signal_handler_may_log_in_the_middle_of_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, sink = FiledGroupCommit(two_files(tmp_path)), Sink()
    plain = os.write
    nested = points(1, 99)

    def write(descriptor: int, data: bytes) -> int:
        if nested:
            group.add(sink, nested.pop())
        return plain(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    add_all(group, sink, points(3))
    group.flush()
    assert sorted(sink.written, key=lambda one: one[3]) == [*points(3), *points(1, 99)]


def test_without_a_thread_values_wait_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    group, sink = GroupCommit(), Sink()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        add_all(group, sink, points(3))
    add_all(group, sink, points(1, 3))
    assert wait_for(lambda: sink.written == points(4))


def test_a_flush_ends_while_another_thread_goes_on_adding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 60)

    class Growing(Sink):
        def write_points(self, calls: Sequence[Points]) -> None:
            super().write_points(calls)
            if self.calls < 100:
                group.add(self, points(1, self.calls)[0])

    group, sink = GroupCommit(), Growing()
    group.add(sink, points(1)[0])
    group.flush()
    assert sink.written == points(1)


def test_points_get_their_time_at_the_flush_in_the_order_of_the_calls() -> None:
    class Stamping(Sink):
        def __init__(self) -> None:
            super().__init__()
            self.number = 0

        def stamped(self, calls: Iterable[Points]) -> list[Points]:
            stamped = []
            for keys, values, _, step in calls:
                self.number += 1
                stamped.append((keys, values, self.number, step))
            return stamped

    group, sink = GroupCommit(), Stamping()
    calls = points(20)
    add_all(group, sink, [(keys, values, -1, step) for keys, values, _, step in calls])
    group.flush()
    assert [(one[2], one[3]) for one in sink.written] == [(n + 1, n) for n in range(20)]
