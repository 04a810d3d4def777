"""What a job and the process that delivers for it tell each other: one JSON object in each line.

The job writes to that process's standard input; the process writes to its standard output. Secrets
travel here and nowhere else: neither in arguments nor in the environment, which others can read.
"""

import os
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from hokusai_core.events import Event
from hokusai_core.observer_hooks import HOOK_OF
from hokusai_core.values import Value

_NO_INPUT = ConfigDict(hide_input_in_errors=True)
"""For what may hold secrets."""

_EVENTS = {event.__name__: event for event in HOOK_OF}


STANDARD_ERROR = 2
"""The highest number of a standard stream."""


class Begin(Value):
    """The first line: which backends, with secrets, and from which level on log records are told.

    ``identity`` is what primary and journal are for the job, ``pid`` the number of its process.
    """

    model_config = _NO_INPUT

    selection: dict[str, Any] = Field(repr=False)
    identity: tuple[str, str]
    pid: int
    log_level: int


class Wake(Value):
    """Something was queued.

    ``at_once``: somebody waits for it. ``environment``: all of the job's, where it has changed.
    """

    model_config = _NO_INPUT

    kind: Literal["wake"] = "wake"
    at_once: bool = False
    environment: dict[str, str] | None = Field(default=None, repr=False)


class Stop(Value):
    """The job ends, or delivers no more. Without it, the end of the lines means that it was killed."""

    kind: Literal["stop"] = "stop"


class LogRecordTold(Value):
    """A log record, to be logged by the job."""

    kind: Literal["log"] = "log"
    logger: str
    level: int
    text: str


class EventTold(Value):
    """An event, to be told to the job's observers."""

    kind: Literal["event"] = "event"
    name: str
    event: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventTold":
        """Make one of an event."""
        return cls(name=type(event).__name__, event=event.model_dump(mode="json"))

    def told(self) -> Event:
        """Give the event."""
        return _EVENTS[self.name].model_validate(self.event)


FromJob = Annotated[Wake | Stop, Field(discriminator="kind")]
ToJob = Annotated[LogRecordTold | EventTold, Field(discriminator="kind")]

from_job: TypeAdapter[Wake | Stop] = TypeAdapter(FromJob, config=_NO_INPUT)
"""Reads a line of the job, after the first, which is a :class:`Begin`."""
to_job: TypeAdapter[LogRecordTold | EventTold] = TypeAdapter(ToJob)
"""Reads a line of the process that delivers."""


def send(descriptor: int, message: Value) -> None:
    """Write a line whole; one thread at a time.

    Raises:
        OSError: The other side has ended.
    """
    send_line(descriptor, line_of(message))


def line_of(message: Value) -> bytes:
    """Give the line of a message."""
    return message.model_dump_json().encode() + b"\n"


def send_line(descriptor: int, line: bytes) -> None:
    """Write a line as :func:`send` does."""
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
