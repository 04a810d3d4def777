"""Points of one run as the journal keeps them: the JSON text of a batch that names each key once.

A loop logs the same keys in each step. Written out as in the JSON form of :class:`LogBatch`, a point
takes 60 to 80 characters, of which its value is a third; packed, little more than its value. What is
appended, claimed and deleted is the less for it, and the text is made by one call.

``points`` are arrays, each of a :class:`PointGroup`.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, TypeAdapter
from pydantic_core import to_json

from hokusai_core.tracking_operations import LogBatch
from hokusai_core.values import Value

Points = tuple[tuple[str, ...], tuple[float, ...], int, int]
"""What one call logs: keys, their values, one timestamp in milliseconds and one step; all checked.

A timestamp below zero is none: it is the reading of :func:`time.monotonic_ns` at the call, negated, and
a timestamp is made of it later (``stamped`` of :class:`~hokusai_core.group_commit.PointSink`)."""

Group = tuple[tuple[str, ...], tuple[tuple[float, ...], ...], tuple[int, ...], tuple[int, ...]]
"""A :class:`PointGroup`, or what is the same text."""

keys_of = itemgetter(0)
"""Gives the keys of what one call logs."""


class PointGroup(NamedTuple):
    """Calls in a row that logged the same keys: these, and the values, timestamp and step of each."""

    keys: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    timestamps: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many points they are."""
        return len(self.keys) * len(self.steps)

    def calls(self, begin: int, end: int) -> "PointGroup":
        """Give some of the calls."""
        taken = slice(begin, end)
        return PointGroup(self.keys, self.values[taken], self.timestamps[taken], self.steps[taken])


class PackedBatch(Value):
    """The second form of a :class:`LogBatch`, for points only.

    Releases that know the first form alone leave it to newer ones, as each newer schema version.
    """

    kind: Literal["log_batch"] = "log_batch"
    schema_version: Literal[2] = 2
    op_id: str
    created_at: int
    run_id: str
    points: tuple[PointGroup, ...]


def alone(call: Points) -> Group:
    """Give one call as a group."""
    keys, values, timestamp, step = call
    # Plain, which is written in half the time.
    return keys, (values,), (timestamp,), (step,)


def grouped(calls: Iterable[Points]) -> list[PointGroup]:
    """Give calls, in their order, as groups."""
    groups = []
    for keys, in_a_row in groupby(calls, keys_of):
        _, values, timestamps, steps = zip(*in_a_row, strict=True)
        groups.append(PointGroup(keys, values, timestamps, steps))
    return groups


def pack(op_id: str, created_at: int, run_id: str, groups: Sequence[Group]) -> str:
    """Give the packed JSON text of the :class:`LogBatch` that logs points.

    Args:
        op_id: Of the operation: letters and digits.
        created_at: In milliseconds since 1970.
        run_id: Either id of the run.
        groups: The points; all have a timestamp.
    """
    run = to_json(run_id).decode()
    points = to_json(groups, inf_nan_mode="strings").decode()
    return (
        f'{{"kind":"log_batch","schema_version":2,"op_id":"{op_id}","created_at":{created_at},'
        f'"run_id":{run},"points":{points}}}'
    )


def unpack(text: str) -> LogBatch:
    """Read a packed text.

    Raises:
        pydantic.ValidationError: It is damaged, or no packed text.
    """
    return _UNPACKING.validate_python(text)


def _first_form(text: str) -> dict[str, Any]:
    batch = PackedBatch.model_validate_json(text)
    return {
        "op_id": batch.op_id,
        "created_at": batch.created_at,
        "run_id": batch.run_id,
        "metrics": [
            {"key": key, "value": value, "timestamp": timestamp, "step": step}
            for keys, calls, timestamps, steps in batch.points
            for values, timestamp, step in zip(calls, timestamps, steps, strict=True)
            for key, value in zip(keys, values, strict=True)
        ],
    }


_UNPACKING: TypeAdapter[LogBatch] = TypeAdapter(Annotated[LogBatch, BeforeValidator(_first_form)])
