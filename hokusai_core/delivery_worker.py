"""The process of :mod:`hokusai_core.delivery_process`: delivers what a job queues while that lives."""

import logging
import os
import threading
from typing import IO

from hokusai_core.delivery_messages import (
    Begin,
    EventTold,
    LogRecordTold,
    Stop,
    Wake,
    from_job,
    send,
)
from hokusai_core.events import Event
from hokusai_core.markers import hookimpl
from hokusai_core.observer_hooks import HOOK_OF
from hokusai_core.portable import from_job_process
from hokusai_core.runtime import Runtime
from hokusai_core.values import Value

_STANDARD_ERROR = 2


class Answers:
    """Tells the job what happens here; when it has ended, nobody is told.

    Args:
        descriptor: Where lines are written.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def tell(self, message: Value) -> None:
        """Write a line."""
        with self._lock:
            try:
                send(self._descriptor, message)
            except OSError:
                return


class _LogHandler(logging.Handler):
    """Lets the job log what is logged here."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a record, with its traceback."""
        try:
            text = self.format(record).encode(errors="backslashreplace").decode()
            self._answers.tell(LogRecordTold(logger=record.name, level=record.levelno, text=text))
        except Exception:  # noqa: BLE001 - as the handlers of the standard library do
            self.handleError(record)


def _observer(answers: Answers) -> object:
    """Make an observer that lets the observers of the job hear what happens here."""

    def tell(event: Event) -> None:
        answers.tell(EventTold.of(event))

    class Relay:
        """Implements every hook."""

    for name in HOOK_OF.values():

        def hook(self: Relay, event: Event) -> None:
            tell(event)

        hook.__name__ = name
        setattr(Relay, name, hookimpl(hook))
    return Relay()


def main() -> None:
    """Deliver what the job queues until it says to stop, or has ended."""
    answers = Answers(_above_standard(1))
    os.dup2(2, 1)  # what drivers print is no line for the job
    lines = os.fdopen(0, "rb")
    first = lines.readline()
    if not first:  # the job was killed meanwhile
        return
    begin = from_job.validate_json(first)
    if not isinstance(begin, Begin):
        raise SystemExit(f"The first line was no beginning, but {begin.kind}.")
    logging.basicConfig(level=begin.log_level, handlers=[_LogHandler(answers)], force=True)
    runtime = Runtime.shared(from_job_process(begin.selection))
    if (runtime.destination, runtime.journal_description) != begin.identity:
        raise SystemExit("Hokusai: from here, primary and journal are other ones than the job's.")
    runtime.observers.only(_observer(answers))
    _deliver(runtime, lines)
    runtime.close_connections()


def _deliver(runtime: Runtime, lines: IO[bytes]) -> None:
    for line in lines:
        message = from_job.validate_json(line)
        if isinstance(message, Stop):
            runtime.drainer.stop(runtime.settings.exit_timeout)
            return
        if isinstance(message, Wake):
            if message.environment is not None:
                _take_over(message.environment)
            runtime.drainer.wake(at_once=message.at_once)
    # The job was killed. What it left is delivered as far as its own end would have done.
    runtime.drainer.wake(at_once=True)
    runtime.close(runtime.settings.exit_timeout)


def _above_standard(descriptor: int) -> int:
    """Give a copy with a number that no standard stream has."""
    copy = os.dup(descriptor)
    while copy <= _STANDARD_ERROR:
        copy = os.dup(copy)
    return copy


def _take_over(environment: dict[str, str]) -> None:
    """Have the job's environment, for example a token that it has renewed."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
