"""What observers are told: events as frozen values.

An event says what happened to one primary, seen from one process. None holds credentials.
"""

from typing import Literal

from pydantic import ConfigDict, Field

from hokusai_core.values import RunStatus, Value, now_milliseconds

CircuitName = Literal["primary", "artifacts", "journal", "events"]
"""Which circuit: of the tracking server and registry, of its artifact store, of the journal's
database, or of the endpoint for registration events."""

CircuitPosition = Literal["closed", "open", "half_open"]


class Event(Value):
    """What all events share.

    ``destination`` is the identity of the primary; ``at`` is when it happened, in milliseconds
    since 1970.
    """

    model_config = ConfigDict(defer_build=True)  # most processes never tell one

    destination: str
    at: int = Field(default_factory=now_milliseconds)


class RunDelivered(Event):
    """A run has ended and is complete on the primary, directly or after it had waited.

    ``run_id`` is the primary's; ``provisional_id`` the one that it had while it waited, "" for a run
    that never did; ``end_time`` is in milliseconds since 1970.
    """

    run_id: str
    provisional_id: str = ""
    status: RunStatus
    end_time: int | None = None


class ModelRegistered(Event):
    """The primary has a new version of a registered model.

    ``version`` is its real number; ``provisional_id`` what it was called before, "" where it never
    waited; ``op_id`` is the tag ``hokusai.op_id`` of the version; ``source_uri``, ``run_id``,
    ``model_id`` (of the logged model) and ``tags`` are those it was registered with: in an outage
    ``source_uri`` may be ``runs:/run_id/name``, where the version is of the logged model of that name.
    """

    name: str
    version: str
    provisional_id: str = ""
    op_id: str
    source_uri: str
    run_id: str | None = None
    model_id: str | None = None
    tags: dict[str, str] = {}


class FallbackBegan(Event):
    """The first write of an outage was kept: in the ``journal``, or in the ``spool``.

    ``reason`` says why the primary did not take it; "" where it waits behind an earlier one.
    """

    place: Literal["journal", "spool"]
    reason: str = ""


class FallbackEnded(Event):
    """Nothing waits any more: the primary has all that was kept.

    ``seconds`` is how long it took since :class:`FallbackBegan`, ``operations`` how many were kept.
    """

    seconds: float
    operations: int


class CircuitChanged(Event):
    """A circuit opened, let a probe through (``half_open``) or closed."""

    circuit: CircuitName
    old: CircuitPosition
    new: CircuitPosition


class DeadLettered(Event):
    """The primary refused a waiting operation for good; its payload is kept in the journal."""

    op_id: str
    kind: str
    stream: str
    error: str
