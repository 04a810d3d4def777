"""What a person reads while a sync waits: seldom, and with the reason."""

import io

import pytest
from rich.console import Console

from hokusai_core import ExperimentManager
from hokusai_core.draining import DrainReport
from hokusai_core.journal import Backlog, StreamBacklog
from hokusai_core.runtime import Runtime
from hokusai_core.sync_progress import SyncProgress
from hokusai_core.testing import MockBackend
from tests.core.clocks import ManualClock


@pytest.fixture
def runtime() -> Runtime:
    made = ExperimentManager(backend=MockBackend()).runtime
    made.clock = ManualClock()
    return made


def backlog_of(runtime: Runtime, *streams: StreamBacklog) -> Backlog:
    waiting = sum(stream.waiting for stream in streams)
    return Backlog(
        waiting=waiting,
        by_destination={runtime.destination: waiting},
        streams=streams,
        now=1000.0,
    )


def stream_of(name: str, *, error: str = "", waiting_for: str = "") -> StreamBacklog:
    return StreamBacklog(
        stream=name,
        destination="mock:",
        waiting=2,
        oldest_at=990.0,
        next_attempt_at=1007.0,
        error=error,
        waiting_for=waiting_for,
    )


def test_a_wait_is_told_after_two_seconds_and_then_seldom(runtime: Runtime) -> None:
    screen = io.StringIO()
    backlog = backlog_of(
        runtime,
        stream_of("run/a", waiting_for="id/b"),
        stream_of("experiment/b", error="the server [is] away"),
    )
    progress = SyncProgress(Console(file=screen, width=500), runtime)
    lines = []
    for _ in range(20):
        progress(DrainReport(), backlog)
        lines.append(screen.getvalue().count("Still waiting"))
        runtime.clock.sleep(1.0)
    assert lines[:3] == [0, 0, 0] or lines[:3] == [0, 0, 1]
    assert lines[3] == lines[15] == 1
    assert lines[-1] == 2
    assert "experiment/b (and 1 more), next attempt in 7 s: the server [is] away" in (
        screen.getvalue()
    )


def test_progress_is_not_called_waiting(runtime: Runtime) -> None:
    screen = io.StringIO()
    progress = SyncProgress(Console(file=screen), runtime)
    for delivered in range(10):
        progress(DrainReport(delivered=delivered), backlog_of(runtime, stream_of("run/a")))
        runtime.clock.sleep(1.0)
    assert screen.getvalue() == ""


def test_a_quiet_one_prints_nothing(runtime: Runtime) -> None:
    screen = io.StringIO()
    progress = SyncProgress(Console(file=screen, force_terminal=True), runtime, quiet=True)
    with progress:
        for _ in range(10):
            progress(DrainReport(), backlog_of(runtime, stream_of("run/a", error="away")))
            runtime.clock.sleep(5.0)
    assert screen.getvalue() == ""
