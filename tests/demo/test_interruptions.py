"""A request to end that comes while the demo starts its server leaves no server behind."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hokusai_core.demo.interruptions import put_off_interruptions
from hokusai_core.demo.server import DemoServer
from tests.support.waiting import wait_for


@pytest.fixture
def as_ctrl_c() -> Iterator[None]:
    """Let a request to end be seen where Ctrl-C is, as the command does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("as_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_comes_when_the_block_is_left(number: signal.Signals) -> None:
    done = []
    before = signal.getsignal(number)

    def block() -> None:
        with put_off_interruptions():
            signal.raise_signal(number)
            done.append("started")
        done.append("too far")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["started"]
    assert signal.getsignal(number) is before


def test_what_the_block_raises_is_raised_where_nobody_asks_to_end() -> None:
    with pytest.raises(OSError, match="no such program"), put_off_interruptions():
        raise OSError("no such program")


def test_signals_that_nobody_here_handles_are_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with put_off_interruptions():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_where_no_request_comes_the_block_just_runs() -> None:
    handlers = []

    def block() -> None:
        with put_off_interruptions():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_a_server_whose_start_is_interrupted_can_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            begun.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    server = DemoServer(tmp_path / "mlflow")
    try:
        with pytest.raises(KeyboardInterrupt):
            server.start()
        assert begun == [server.pid]
        assert _is_there(begun[0])
        server.kill()
        assert wait_for(lambda: not _is_there(begun[0]))
    finally:
        for pid in begun:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
