"""Delivery from a process of its own, so that a training loop shares no interpreter with it.

For queued delivery with ``auto_sync="process"``. A thread that delivers takes Python's lock from the
loop a few milliseconds for each request. The process of this module has an interpreter of its own, and
ends with the job, however that ends.

It claims, sends and settles as any other worker on the same journal. So whatever becomes of it, nothing
is lost or sent twice; where it cannot be started or ends by itself, a thread of the job goes on.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hokusai_core.delivery_messages import (
    STANDARD_ERROR,
    Begin,
    EventTold,
    Stop,
    Wake,
    line_of,
    send,
    send_line,
    to_job,
)
from hokusai_core.draining import LINGER_SECONDS, BackgroundDrainer
from hokusai_core.events import Event
from hokusai_core.fork_gate import ForkGate
from hokusai_core.woken_thread import WokenThread

logger = logging.getLogger("hokusai")

_PAUSE_SECONDS = LINGER_SECONDS
"""How long the process is left alone after it was woken: it lets writes gather as long."""

_FORK_SECONDS = 5.0
"""How long a fork of the job waits for the start of the process, whose pipes it must not inherit."""

_WAKE = line_of(Wake())
"""Sent once a second beside a loop, which would feel how it is made."""

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; from hokusai_core.delivery_worker import main; main()"
)


class DeliveryProcess(WokenThread):
    """The process that delivers what this process queued, and the thread that tells it to.

    Args:
        selection: Gives the backends, with secrets, as
            :func:`~hokusai_core.portable.to_own_process` does.
        identity: What primary and journal are: where the process finds others, because the job has
            another working directory by then, it leaves the delivery to the thread.
        instead: The thread that delivers where the process does not.
        on_event: Called with each event that happened there.
    """

    def __init__(
        self,
        selection: Callable[[], dict[str, Any]],
        identity: tuple[str, str],
        instead: BackgroundDrainer,
        on_event: Callable[[Event], None],
    ) -> None:
        super().__init__("hokusai-delivery")
        self._selection = selection
        self._identity = identity
        self._instead = instead
        self._on_event = on_event
        self._gate = ForkGate(_FORK_SECONDS)

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._process: subprocess.Popen[bytes] | None = None
        self._input = self._output = -1
        self._ended = self._lost = False

    def reset_after_fork(self) -> None:
        """In a forked child: the process is the parent's; the next :meth:`wake` starts another."""
        self._close_input()
        self._close_output()
        if self._process is not None:
            self._process.returncode = 0  # nobody's child here: not to be waited for
        super().reset_after_fork()
        self._instead.reset_after_fork()

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended, or a thread delivers in its place."""
        return super().running or self._instead.running

    @property
    def pid(self) -> int | None:
        """The id of the process; None before its start, and where a thread delivers."""
        return self._process.pid if self._process is not None and not self._lost else None

    @property
    def in_other_process(self) -> bool:
        """Whether the process was started, and goes on."""
        return self.pid is not None and not self._ended and not self._stopping.is_set()

    def wake(self, *, at_once: bool = False) -> None:
        """Something was queued: start the process, or let it look again."""
        if self._lost:
            self._instead.wake(at_once=at_once)
        else:
            super().wake(at_once=at_once)

    def stop(self, timeout: float) -> None:
        """Let the process end after the step in hand; waits at most ``timeout`` seconds for it."""
        until = time.monotonic() + timeout
        super().stop(timeout)
        self._instead.stop(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        """Start the process, tell it what happens here, and see it end."""
        if hasattr(signal, "pthread_sigmask"):
            # Where the process has ended, a write fails; it must not end a job that dies of SIGPIPE.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        listener = threading.Thread(
            target=self._listen, name="hokusai-delivery-answers", daemon=True
        )
        try:
            environment = dict(os.environ)
            with self._gate.inside():
                process = self._process = self._start_process()
            listener.start()
        except Exception as cause:  # noqa: BLE001 - whatever it is, a thread can deliver
            self._close_input()
            self._close_output()
            self._lose(f"could not be started ({cause})")
            return
        try:
            self._tell(environment)
        except Exception as cause:  # noqa: BLE001 - the process ends, and a thread goes on
            logger.debug("The process that delivers is told no more: %s", cause)
        finally:
            self._close_input()
        listener.join()
        code = process.wait()
        if not self._stopping.is_set():
            self._lose(f"has ended with code {code}")

    def _start_process(self) -> subprocess.Popen[bytes]:
        """Start it, with a pipe to its input and one from its output."""
        if getattr(sys, "frozen", False) or not sys.executable:
            raise OSError("this program has no Python interpreter beside it")
        paths = [path or str(Path.cwd()) for path in sys.path]
        theirs, self._input = os.pipe()
        self._output, answers = os.pipe()
        try:
            return subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *paths],
                stdin=theirs,
                stdout=answers,
                stderr=None if _is_open(STANDARD_ERROR) else subprocess.DEVNULL,
                # Where the executable is a program of its own after all, that starts no third one.
                env=os.environ | {"HOKUSAI_AUTO_SYNC": "true"},
                process_group=0,  # Ctrl-C at the terminal is for the job
            )
        finally:
            os.close(theirs)
            os.close(answers)

    def _tell(self, environment: dict[str, str]) -> None:
        """Tell the process what to begin with, and of each :meth:`wake`, until one of both ends.

        Args:
            environment: What it was started with.

        Raises:
            OSError: It has ended.
        """
        level = logger.getEffectiveLevel()
        begin = Begin(
            selection=self._selection(), identity=self._identity, pid=os.getpid(), log_level=level
        )
        send(self._input, begin)
        while True:
            self._woken.wait()
            self._woken.clear()
            if self._ended:
                return
            if self._stopping.is_set():
                send(self._input, Stop())
                return
            at_once = self._at_once.is_set()
            if at_once:
                self._at_once.clear()
            here = dict(os.environ)
            changed = here if here != environment else None
            if at_once or changed is not None:
                send(self._input, Wake(at_once=at_once, environment=changed))
            else:
                send_line(self._input, _WAKE)
            environment = here
            self._at_once.wait(_PAUSE_SECONDS)

    def _listen(self) -> None:
        """Log and tell here what the process tells, until it ends."""
        rest = b""
        while data := os.read(self._output, 1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                try:
                    self._hear(line)
                except Exception as cause:  # noqa: BLE001 - of the job's own logging, or of a stray line
                    logger.debug("An answer was not told: %r", cause)
        self._close_output()
        self._ended = True
        self._woken.set()
        self._at_once.set()

    def _hear(self, line: bytes) -> None:
        message = to_job.validate_json(line)
        if isinstance(message, EventTold):
            self._on_event(message.told())
        else:
            logging.getLogger(message.logger).log(message.level, "%s", message.text)

    def _lose(self, what: str) -> None:
        self._lost = True
        self._instead.wake(at_once=True)
        logger.warning(
            "The process that delivers for this one %s. A thread of this process delivers from now on; "
            "nothing is lost.",
            what,
        )

    # Forgotten first: a child that is forked meanwhile must not close what has the number by then.
    def _close_input(self) -> None:
        descriptor, self._input = self._input, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _close_output(self) -> None:
        descriptor, self._output = self._output, -1
        if descriptor >= 0:
            os.close(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
