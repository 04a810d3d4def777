"""The job's side of delivery by a process, beside processes that misbehave."""

import io
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from hokusai_core import delivery_process, delivery_worker
from hokusai_core.claim_progress import Step
from hokusai_core.delivery_messages import EventTold, LogRecordTold
from hokusai_core.delivery_process import DeliveryProcess
from hokusai_core.draining import BackgroundDrainer
from hokusai_core.events import Event, FallbackBegan
from tests.acceptance import programs
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="looks at signals")

EVENT = FallbackBegan(destination="somewhere", place="journal")


class Bench:
    """A process that runs a program, and a thread in its place that notes that it was woken."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.thread_delivers = threading.Event()
        self.instead = BackgroundDrainer(
            step=lambda: Step("idle"),
            forward=lambda: 0,
            waiting=lambda: 0,
            on_empty=self.thread_delivers.set,
        )
        self.selection: dict[str, Any] = {}
        self.process = DeliveryProcess(
            lambda: self.selection, ("primary", "journal"), self.instead, self.heard.append
        )


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Bench]]:
    benches: list[Bench] = []

    def make(program: str) -> Bench:
        monkeypatch.setattr(delivery_process, "_PROGRAM", program)
        benches.append(Bench())
        return benches[-1]

    yield make
    for bench in benches:
        if bench.process.pid is not None and bench.process.running:
            os.kill(bench.process.pid, signal.SIGKILL)
        bench.process.stop(10.0)


def test_one_answer_that_cannot_be_told_keeps_no_other_from_it(
    running: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise ValueError(record.msg)

    record = LogRecordTold(logger="tests.refusing", level=logging.ERROR, text="hello")
    monkeypatch.setattr(logging.getLogger("tests.refusing"), "filters", [Refuses()])
    lines = ["no JSON", '{"kind": "unknown"}', record.model_dump_json()]
    lines.append(EventTold.of(EVENT).model_dump_json())
    bench = running(
        f"import sys; sys.stdin.readline(); print(*{lines!r}, sep='\\n', flush=True); "
        "sys.stdin.read()"
    )
    bench.process.wake()
    assert wait_for(lambda: bench.heard == [EVENT])
    assert bench.process.running
    bench.process.stop(10.0)
    assert not bench.process.running
    assert not bench.thread_delivers.is_set(), "it was told to stop"


def test_the_end_of_the_process_is_noticed_without_another_write(
    running: Callable[[str], Bench], caplog: pytest.LogCaptureFixture
) -> None:
    bench = running("import sys; sys.stdin.readline(); sys.exit(3)")
    bench.process.wake()
    assert bench.thread_delivers.wait(20.0)
    assert wait_for(lambda: "has ended with code 3" in caplog.text)
    assert bench.process.pid is None
    bench.thread_delivers.clear()
    bench.process.wake()
    assert bench.thread_delivers.wait(10.0)


def test_a_process_that_does_not_listen_holds_up_nobody(running: Callable[[str], Bench]) -> None:
    bench = running("import time; time.sleep(60)")
    bench.selection = {"larger": "than a pipe" * 100_000}
    began = time.monotonic()
    for _ in range(1000):
        bench.process.wake()
        bench.process.wake(at_once=True)
    assert wait_for(lambda: bench.process.pid is not None)
    bench.process.stop(0.2)
    assert time.monotonic() - began < 20, "it would take a minute"


def test_a_thread_that_cannot_be_started_is_tried_again(
    running: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bench = running("import sys; sys.stdin.read()")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for drainer in (bench.instead, bench.process):
            drainer.wake()
            assert not drainer.running
    for drainer in (bench.instead, bench.process):
        drainer.wake()
        assert drainer.running


SIGPIPE = """
    import signal, threading
    from hokusai_core import delivery_process
    from hokusai_core.delivery_process import DeliveryProcess
    from hokusai_core.draining import BackgroundDrainer

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    delivery_process._PROGRAM = "raise SystemExit"
    delivers = threading.Event()
    instead = BackgroundDrainer(None, lambda: delivers.set(), None, None)
    process = DeliveryProcess(lambda: {"more": "x" * 1_000_000}, ("", ""), instead, print)
    process.wake()
    assert delivers.wait(20)
    process.stop(1.0)
    print("lives")
"""


def test_its_end_does_not_kill_a_job_that_dies_of_broken_pipes() -> None:
    """As command-line programs ask for, so that they end with the reader of their output."""
    assert programs.run(SIGPIPE, fresh=True).stdout == "lives\n"


def test_a_line_that_the_job_could_not_finish_is_the_end_of_the_job() -> None:
    runtime = Mock()
    delivery_worker._deliver(runtime, io.BytesIO(b'{"kind": "queued", "environ'), 1234)
    runtime.points.gather_from.assert_called_once_with(1234, timeout=delivery_worker._END_SECONDS)
    runtime.close.assert_called_once_with(runtime.settings.exit_timeout)
