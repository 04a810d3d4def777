"""Files of metrics are passed on to another process: each point reaches the journal, in time, once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest

from hokusai_core import ExperimentManager, NotStoredError, Settings, group_commit, points_relay
from hokusai_core.fallback import FallbackStore
from hokusai_core.filed_group_commit import PASS_ON_SECONDS, FiledGroupCommit
from hokusai_core.group_commit import GroupCommit
from hokusai_core.journal import EntryQuery
from hokusai_core.left_points import LeftPoints, read_points
from hokusai_core.packed_points import Points
from hokusai_core.points_file import PointsFile, files_can_be_locked, lock
from hokusai_core.points_relay import PointsRelay
from hokusai_core.run_handle import RunHandle
from hokusai_core.testing import MockBackend
from tests.acceptance import programs
from tests.core.test_group_commit import Sink, points
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(not files_can_be_locked(), reason="needs flock")

Make = Callable[..., "Buffer"]
KINDS = ("process", "relaxed")


class Buffer:
    """A buffer that passes on, over a real journal, with a thread that does nothing by itself."""

    def __init__(self, folder: Path, durability: str, fallback: FallbackStore) -> None:
        self.folder = folder
        self.ready = True
        self.passed = 0
        self.fallback = fallback
        self.left = LeftPoints(folder, fallback, lambda _destination, _stream: None)
        self.relay = PointsRelay(self.left, lambda: self.ready, self._on_passed)
        files = [PointsFile(folder, "somewhere") for _ in range(2)]
        self.group = (
            GroupCommit((files[0],), self.relay)
            if durability == "relaxed"
            else FiledGroupCommit((files[0], files[1]), self.relay)
        )
        self.sink = Sink()

    def _on_passed(self) -> None:
        self.passed += 1

    def add(self, calls: Sequence[Points]) -> None:
        for one in calls:
            self.group.add(self.sink, one)

    def in_files(self) -> list[Points]:
        found = [read_points(path.read_bytes())[1] for path in self.folder.iterdir()]
        calls = [call for runs in found for call in runs.get("run", ())]
        return sorted(calls, key=lambda call: call[3])

    def in_journal(self) -> list[Points]:
        """The points that were adopted, in the order of the journal."""
        entries = self.fallback.journal.journal_read(EntryQuery(streams=("run/run",)))
        return [
            ((one.key,), (one.value,), one.timestamp, one.step)
            for entry in entries
            for one in entry.operation.metrics  # type: ignore[union-attr]
        ]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ExperimentManager]:
    settings = Settings.load(data_dir=tmp_path, fallback="sql", auto_sync=False, exit_timeout=0.0)
    manager = ExperimentManager("relay", backend=MockBackend(), settings=settings)
    yield manager
    manager.runtime.close_connections()


@pytest.fixture
def make(
    manager: ExperimentManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    monkeypatch.setattr(group_commit, "INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr("hokusai_core.filed_group_commit.PASS_ON_SECONDS", 3600.0)
    monkeypatch.setattr("hokusai_core.filed_group_commit.MOST_CALLS_IN_MEMORY", 0)
    monkeypatch.setattr(points_relay, "_GATHER_SECONDS", 0.0)
    fallback = manager.runtime.fallback
    assert fallback is not None
    made: list[Buffer] = []

    def make(durability: str) -> Buffer:
        made.append(Buffer(tmp_path / "passed", durability, fallback))
        return made[-1]

    yield make
    for buffer in made:
        buffer.group.close()


@pytest.mark.parametrize("durability", KINDS)
def test_another_process_appends_what_is_passed_on(durability: str, make: Make) -> None:
    buffer = make(durability)
    for begin in (0, 5, 10):
        buffer.add(points(5, begin))
        buffer.group.pass_on()
    assert buffer.passed == 3
    assert buffer.sink.written == [], "nothing of this process wrote into the journal"
    newest = [points(15)[at] for at in (4, 9, 14)]
    assert buffer.sink.expected == (points(15) if durability == "relaxed" else newest)
    assert buffer.in_files() == points(15)
    assert buffer.relay.count == 15
    assert buffer.left.adopt() >= 3
    assert sorted(buffer.in_journal(), key=lambda call: call[3]) == points(15)
    assert buffer.relay.count == 0
    assert buffer.in_files() == []


@pytest.mark.parametrize("durability", KINDS)
def test_a_flush_has_everything_in_the_journal(durability: str, make: Make) -> None:
    buffer = make(durability)
    buffer.add(points(5))
    buffer.group.pass_on()
    buffer.add(points(5, 5))
    buffer.group.flush()
    # With `process`, what the flush finds stands in a file alone.
    written = 5 if durability == "relaxed" else 0
    assert buffer.in_journal() == points(10 - written)
    assert buffer.sink.written == points(written, 5)
    assert buffer.in_files() == []
    buffer.group.flush()
    assert buffer.in_journal() == points(10 - written)
    assert buffer.group.empty


@pytest.mark.parametrize("durability", KINDS)
def test_where_no_process_appends_the_thread_does(durability: str, make: Make) -> None:
    buffer = make(durability)
    buffer.add(points(5))
    buffer.group.pass_on()
    buffer.ready = False
    buffer.add(points(5, 5))
    buffer.group.pass_on()
    assert buffer.in_journal() == points(5)
    assert buffer.sink.written == points(5, 5)


def test_metrics_gather_in_the_file_before_it_is_passed_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points_relay, "_GATHER_SECONDS", 3600.0)
    buffer = make("relaxed")
    for begin in (0, 5):
        buffer.add(points(5, begin))
        buffer.group.pass_on()
    assert (buffer.passed, buffer.relay.count) == (0, 10)
    assert buffer.in_files() == points(10), "they outlive the process from now on"
    assert buffer.left.adopt() == 0, "and this process holds the file"
    buffer.group.pass_on()  # nothing was added meanwhile
    assert buffer.passed == 1
    buffer.add(points(5, 10))
    buffer.group.pass_on()
    buffer.group.flush()
    assert buffer.in_journal() == points(15)


@pytest.mark.parametrize("durability", KINDS)
def test_a_flush_waits_for_who_appends(durability: str, make: Make) -> None:
    buffer = make(durability)
    buffer.add(points(5))
    buffer.group.pass_on()
    (path,) = [one for one in buffer.folder.iterdir() if len(read_points(one.read_bytes())[1])]
    descriptor = os.open(path, os.O_RDONLY)
    assert lock(descriptor)
    flush = threading.Thread(target=buffer.group.flush)
    flush.start()
    try:
        flush.join(0.1)
        assert flush.is_alive(), "its points may not be in the journal yet"
        path.unlink()  # they are now
    finally:
        os.close(descriptor)
        flush.join()
    assert buffer.in_journal() == []


def test_a_flush_does_not_wait_for_ever_for_a_process_that_is_stopped(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points_relay, "_PATIENCE_SECONDS", 0.05)
    buffer = make("process")
    buffer.add(points(5))
    buffer.group.pass_on()
    held = [os.open(path, os.O_RDONLY) for path in buffer.folder.iterdir()]
    assert [lock(descriptor) for descriptor in held].count(True) == 1
    try:
        buffer.group.flush()
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert buffer.in_journal() == points(5)


@pytest.mark.parametrize("durability", KINDS)
def test_while_the_journal_fails_calls_are_taken_until_the_buffer_is_full(
    durability: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MOST_POINTS", 10)
    buffer = make(durability)

    def full(*_: object) -> str:
        raise NotStoredError("The disk is full.", ())

    with monkeypatch.context() as patch:
        patch.setattr(buffer.fallback, "append", full)
        for begin in (0, 5):
            buffer.add(points(5, begin))
            buffer.group.pass_on()
        with pytest.raises(NotStoredError, match="The disk is full"):
            buffer.add(points(1, 10))
        assert buffer.in_files() == points(10)
    buffer.add(points(1, 10))
    buffer.group.flush()
    assert buffer.in_journal() + buffer.sink.written == points(11)


def test_few_calls_are_appended_from_memory_and_many_from_their_file(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hokusai_core.filed_group_commit.MOST_CALLS_IN_MEMORY", 3)
    buffer = make("process")
    buffer.add(points(3))
    buffer.group.flush()
    assert buffer.sink.written == points(3)
    buffer.add(points(4, 3))
    buffer.group.flush()
    assert (buffer.sink.written, buffer.in_journal()) == (points(3), points(4, 3))
    assert buffer.sink.expected == [points(7)[-1]]
    assert buffer.in_files() == []


def test_calls_that_stand_in_a_file_alone_are_appended_when_nobody_else_does(make: Make) -> None:
    buffer = make("process")
    buffer.ready = False
    buffer.add(points(2))
    buffer.ready = True
    buffer.add(points(2, 2))
    buffer.group.pass_on()
    assert buffer.sink.expected == [points(4)[-1]], "the others are not in memory any more"
    buffer.add(points(2, 4))
    buffer.ready = False
    buffer.add(points(2, 6))
    buffer.group.pass_on()
    assert buffer.sink.written == [], "it came from the files"
    assert sorted(buffer.in_journal(), key=lambda call: call[3]) == points(8)
    assert buffer.in_files() == []


def test_what_an_earlier_flush_could_not_append_is_appended_before_its_file_is_used_again(
    make: Make,
) -> None:
    buffer = make("process")
    buffer.ready = False
    buffer.add(points(3))
    buffer.sink.failure = NotStoredError("The disk is full.", ())
    with pytest.raises(NotStoredError, match="The disk is full"):
        buffer.group.flush()
    buffer.ready = True
    for begin in (3, 6):
        buffer.add(points(3, begin))
        with pytest.raises(NotStoredError, match="The disk is full"):
            buffer.group.pass_on()
    assert buffer.in_files() == points(9)
    buffer.sink.failure = None
    buffer.group.pass_on()
    assert sorted(buffer.sink.written + buffer.in_journal(), key=lambda one: one[3]) == points(9)
    assert buffer.in_files() == []


def test_of_calls_in_a_file_alone_the_newest_of_the_same_keys_is_known(make: Make) -> None:
    buffer = make("process")
    first, other, older = points(1, 7)[0], (("accuracy",), (0.5,), 7, 7), points(1, 3)[0]
    same_step = (first[0], (0.25,), first[2], first[3])
    buffer.add([first, other, same_step, older])
    buffer.group.pass_on()
    assert buffer.sink.expected == [same_step, other]


@pytest.mark.parametrize("handler", ["logs", "flushes and logs", "is that of Ctrl-C"])
def test_a_signal_at_any_line_of_a_flush_of_filed_calls_loses_nothing(
    handler: str, make: Make
) -> None:
    """Before each line of what leaves calls to the file, and passes it on, a signal comes."""
    names = {"_keep", "_leave_to_file", "_note", "_pass_on_filed", "_fill_other"}
    ctrl_c = handler == "is that of Ctrl-C"
    lines = 0
    while True:
        buffer = make("process")
        buffer.folder = buffer.folder.parent / f"{handler} {lines}"
        left = LeftPoints(buffer.folder, buffer.fallback, lambda _destination, _stream: None)
        buffer.relay = PointsRelay(left, lambda: True, lambda: None)
        files = PointsFile(buffer.folder, "somewhere"), PointsFile(buffer.folder, "somewhere")
        buffer.group = FiledGroupCommit(files, buffer.relay)
        before, seen, hit = len(buffer.in_journal()), 0, False

        def trace(
            frame: FrameType, event: str, _: object, buffer: Buffer = buffer, at: int = lines
        ) -> object:
            nonlocal seen, hit
            if frame.f_code.co_name not in names:
                return None
            if event == "line":
                seen += 1
                if seen == at + 1:
                    hit = True
                    sys.settrace(None)
                    if ctrl_c:
                        raise KeyboardInterrupt
                    if handler == "flushes and logs":
                        buffer.group.flush()
                    buffer.add(points(1, 100))
            return trace

        told = 0
        sys.settrace(trace)
        try:
            for step in range(3):
                buffer.add(points(1, step))
                told += 1
            # A handler does not come within what the thread of the buffer does.
            (buffer.group.flush if handler == "flushes and logs" else buffer.group.pass_on)()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        buffer.group.flush()
        assert buffer.group.empty
        in_journal = buffer.in_journal()[before:] + buffer.sink.written
        expected = {*range(told), *([100] if hit and not ctrl_c else [])}
        assert expected <= {step for *_, step in in_journal} <= expected | {told}
        buffer.group.close()
        if not hit:
            break
        lines += 1
    assert lines > 20


def test_the_buffer_is_not_full_of_what_was_appended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MOST_POINTS", 10)
    buffer = make("process")
    for begin in range(0, 60, 6):
        buffer.add(points(6, begin))
        buffer.group.pass_on()
        assert buffer.left.adopt() >= 1
    assert sorted(buffer.in_journal(), key=lambda call: call[3]) == points(60)
    assert buffer.sink.written == []


FAILURES = {
    "no more files": OSError("no more files"),
    "the disk is full": NotStoredError("It is kept nowhere.", (OSError("the disk is full"),)),
}


@pytest.mark.parametrize("reason", FAILURES)
def test_a_flush_says_what_it_could_not_append_and_where_it_is(
    reason: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = make("process")
    buffer.add(points(5))
    buffer.group.pass_on()

    def refuse(*_: object, **__: object) -> bool:
        raise FAILURES[reason]

    monkeypatch.setattr(LeftPoints, "settle", refuse)
    with pytest.raises(NotStoredError) as failure:
        buffer.group.flush()
    monkeypatch.undo()
    (path,) = [one for one in buffer.folder.iterdir() if read_points(one.read_bytes())[1]]
    assert f"Metrics in {path} could not be appended" in str(failure.value)
    assert str(failure.value).endswith(f"says what is wrong. {reason}")
    assert "nowhere" not in str(failure.value)
    assert buffer.in_files() == points(5)
    assert buffer.left.adopt()


def test_where_no_file_can_be_written_the_thread_appends(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = make("relaxed")

    def refuse(*_: object, **__: object) -> int:
        raise OSError("The disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        buffer.add(points(5))
        buffer.group.pass_on()
    assert buffer.sink.written == points(5)
    assert buffer.relay.count == 0


def test_threads_lose_nothing_while_files_change(make: Make) -> None:
    buffer = make("process")
    changed = threading.Event()

    def log(first: int) -> None:
        for number, point in enumerate(points(1_000, first)):
            if number == 500:
                changed.wait(60)
            buffer.group.add(buffer.sink, point)

    threads = [threading.Thread(target=log, args=(n * 1_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        buffer.group.pass_on()
        buffer.left.adopt()
        if buffer.passed:
            changed.set()
    for thread in threads:
        thread.join()
    buffer.group.pass_on()
    buffer.group.flush()
    assert buffer.passed > 1
    assert sorted(buffer.in_journal(), key=lambda call: call[3]) == points(4_000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_was_passed_on_before_a_fork_is_the_parents(make: Make) -> None:
    buffer = make("process")
    buffer.add(points(5))
    buffer.group.pass_on()
    child = os.fork()
    if child == 0:
        buffer.group.reset_after_fork()
        os._exit(buffer.relay.count)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert buffer.in_journal() == points(5), "the parent appends before it forks"


@pytest.mark.parametrize("durability", KINDS)
def test_the_thread_passes_on_by_itself(durability: str, make: Make) -> None:
    buffer = make(durability)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_commit, "INTERVAL_SECONDS", 0.01)
        patch.setattr("hokusai_core.filed_group_commit.PASS_ON_SECONDS", 0.01)
        buffer.add(points(5))
        assert wait_for(lambda: buffer.passed > 0)
    assert buffer.in_files() == points(5)


def test_a_file_is_passed_on_less_often_than_values_of_memory_are_written() -> None:
    assert group_commit.INTERVAL_SECONDS < PASS_ON_SECONDS


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunHandle]:
    """A run whose metrics are passed on, though nobody appends them."""
    monkeypatch.setattr("hokusai_core.draining.BackgroundDrainer.in_other_process", True)
    settings = Settings.load(
        data_dir=tmp_path,
        fallback="sql",
        delivery="queued",
        durability="process",
        auto_sync=False,
        exit_timeout=0.0,
    )
    manager = ExperimentManager("relay", backend=MockBackend(), settings=settings)
    yield manager.start_run()
    manager.runtime.close_connections()


def log_and_pass_on(run: RunHandle, until: int, first: int = 0) -> None:
    for step in range(first, until):
        run.log_metric("loss", float(step), step=step)
    buffer = run._buffer
    assert isinstance(buffer, GroupCommit)
    buffer.pass_on()


def test_what_others_write_comes_after_what_was_passed_on(run: RunHandle) -> None:
    """A status, and a read, come after each metric before them; the run's other handle sees it wait."""
    runtime = run._runtime
    log_and_pass_on(run, 5)
    assert runtime.streams.is_queued(f"run/{run.run_id}")
    assert run.known_run().data.metrics == {"loss": 4.0}
    run.log_param("lr", 0.1)
    log_and_pass_on(run, 10, first=5)
    assert run.get().data.metrics == {"loss": 9.0}
    log_and_pass_on(run, 15, first=10)
    run.end()
    entries = runtime.run_entries(run.run_id, kinds=("log_batch", "update_run"))
    logged = [
        sum(len(one.operation.metrics) for one in entries[:place])  # type: ignore[union-attr]
        for place, entry in enumerate(entries)
        if entry.kind == "update_run" or entry.operation.params  # type: ignore[union-attr]
    ]
    assert logged == [5, 15]


APPENDS = """
    import os, signal
    from pathlib import Path
    from hokusai_core import ExperimentManager, Settings
    from hokusai_core.fallback import FallbackStore
    from hokusai_core.left_points import LeftPoints

    def killed(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    {where} = killed
    settings = Settings.load(data_dir={folder!r}, fallback="sql", auto_sync=False)
    ExperimentManager("appends", backend="mock", settings=settings).runtime.points.gather()
"""


@pytest.mark.parametrize("where", ["FallbackStore.append", "LeftPoints._remove"])
def test_who_appends_is_killed_before_and_after(where: str, run: RunHandle, tmp_path: Path) -> None:
    log_and_pass_on(run, 20)
    program = APPENDS.format(where=where, folder=str(tmp_path))
    programs.run(program, code=-signal.SIGKILL, fresh=True)
    appended = run._runtime.fallback.journal.journal_read(  # type: ignore[union-attr]
        EntryQuery(streams=(f"run/{run.run_id}",), kinds=("log_batch",))
    )
    assert len(appended) == (where == "LeftPoints._remove")
    run.end()
    report = run._runtime.drain().run(wait_seconds=5, stop=threading.Event())
    assert (report.left, report.dead) == (0, 0)
    assert run.primary_id is not None
    history = run._runtime.runs.metric_history(run.primary_id, "loss")
    assert [point.step for point in history] == list(range(20))
