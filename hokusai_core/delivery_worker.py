"""The process of :mod:`hokusai_core.delivery_process`: delivers what a job queues while that lives."""

import logging
import os
import threading
from typing import IO

from hokusai_core.delivery_messages import (
    STANDARD_ERROR,
    Begin,
    EventTold,
    LogRecordTold,
    Stop,
    from_job,
    send,
)
from hokusai_core.errors import HokusaiError
from hokusai_core.portable import from_job_process
from hokusai_core.runtime import Runtime
from hokusai_core.values import Value

logger = logging.getLogger("hokusai")

_END_SECONDS = 5.0
"""How long the system may take to close the files of a job that was killed."""


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


def main() -> None:
    """Deliver what the job queues until it says to stop, or has ended."""
    answers = Answers(_above_standard(1))
    os.dup2(STANDARD_ERROR, 1)  # what drivers print is no line for the job
    lines = os.fdopen(0, "rb")
    first = lines.readline()
    if not first:  # the job was killed meanwhile
        return
    begin = Begin.model_validate_json(first)
    logging.basicConfig(level=begin.log_level, handlers=[_LogHandler(answers)], force=True)
    runtime = Runtime.shared(from_job_process(begin.selection))
    if (runtime.destination, runtime.journal_description) != begin.identity:
        raise SystemExit("Hokusai: from here, primary and journal are other ones than the job's.")
    runtime.observers.relay(lambda event: answers.tell(EventTold.of(event)))
    _deliver(runtime, lines, begin.pid)
    runtime.close_connections()


def _deliver(runtime: Runtime, lines: IO[bytes], job: int) -> None:
    for line in lines:
        if not line.endswith(b"\n"):
            break  # the job was killed while it wrote
        message = from_job.validate_json(line)
        if isinstance(message, Stop):
            runtime.drainer.stop(runtime.settings.exit_timeout)
            return
        if message.environment is not None:
            _take_over(message.environment)
        # Here, as the drainer may be about to wait for the server.
        try:
            runtime.points.gather()
        except HokusaiError as failure:  # the drainer meets it, too, and tells it
            logger.debug("What the job logged was not appended: %s", failure)
        runtime.drainer.wake(at_once=message.at_once)
    # The job was killed. What it left is delivered as far as its own end would have done.
    runtime.points.gather_from(job, timeout=_END_SECONDS)
    runtime.drainer.wake(at_once=True)
    runtime.close(runtime.settings.exit_timeout)


def _above_standard(descriptor: int) -> int:
    """Give a copy with a number that no standard stream has."""
    copy = os.dup(descriptor)
    while copy <= STANDARD_ERROR:
        copy = os.dup(copy)
    return copy


def _take_over(environment: dict[str, str]) -> None:
    """Have the job's environment, for example a token that it has renewed."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
