"""The frozen values that operations and reads are made of."""

import time
from typing import Literal

from pydantic import BaseModel, ConfigDict

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
TERMINAL_STATUSES: frozenset[str] = frozenset({"FINISHED", "FAILED", "KILLED"})


def now_milliseconds() -> int:
    """Give the wall clock's time in whole milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


class Value(BaseModel):
    """Base of the frozen values that operations and reads are made of."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="strings", protected_namespaces=()
    )


class MetricPoint(Value):
    """One measured value: ``timestamp`` in milliseconds since 1970, ``step`` of 64 bits."""

    key: str
    value: float
    timestamp: int
    step: int = 0


class ArtifactOwner(Value):
    """What an artifact belongs to: a run, or a logged model (whose files have a root of their own)."""

    kind: Literal["run", "model"]
    id: str
