"""Points of metrics on the short way to the journal: plain values, and at once their packed text.

A point that waits is not looked at before it is delivered. So neither the points nor the operation that
carries them are built as objects; whoever asks for the operation gets it from its text.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from hokusai_core.batching import SURELY_FITTING_METRICS, fitting_metrics
from hokusai_core.identifiers import new_op_id
from hokusai_core.journal import Entry
from hokusai_core.operations import AnyOperation, LogBatch, load_operation, now_milliseconds
from hokusai_core.packed_points import Group, PointGroup, Points, alone, grouped, pack

_set = object.__setattr__


class PointsEntry(Entry):
    """A new entry for points of one run.

    Args:
        run_id: The one id that all writes to the run are queued under.
        groups: As many points as surely fit into one request.
        destination: Identity of the primary.
    """

    __slots__ = ("_operation", "op_id", "payload", "requires", "stream")

    kind: str = LogBatch.model_fields["kind"].default
    late_effects_matter = False
    maybe_applied = False
    not_before = 0.0
    error = ""
    fresh = True
    plain = True
    _operation: AnyOperation | None

    def __init__(self, run_id: str, groups: Sequence[Group], destination: str) -> None:
        op_id = new_op_id()
        stream, requires = _order_of(run_id)
        _set(self, "op_id", op_id)
        _set(self, "stream", stream)
        _set(self, "requires", requires)
        _set(self, "destination", destination)
        _set(self, "payload", pack(op_id, now_milliseconds(), run_id, groups))
        _set(self, "_operation", None)

    @property
    def operation(self) -> AnyOperation:
        """The operation, read from its text with the first use."""
        operation = self._operation
        if operation is None:
            operation = load_operation(self.payload)
            _set(self, "_operation", operation)
        return operation


def split_points(calls: Sequence[Points]) -> Sequence[Sequence[Group]]:
    """Give the points, in order, in parts that surely fit into one request each."""
    if len(calls) == 1 and len(calls[0][0]) <= SURELY_FITTING_METRICS:  # a loop, call by call
        return ((alone(calls[0]),),)
    groups = grouped(calls)
    count = sum([group.size for group in groups])
    if count <= SURELY_FITTING_METRICS:
        return (groups,)
    most = fitting_metrics(max([len(key) for group in groups for key in group.keys]))
    return (groups,) if count <= most else tuple(_cut(groups, most))


def _cut(groups: Iterable[PointGroup], most: int) -> Iterator[list[PointGroup]]:
    part: list[PointGroup] = []
    room = most
    for group in _narrow(groups, most):
        begin = 0
        while begin < len(group.steps):
            if room < len(group.keys):
                yield part
                part, room = [], most
            taken = group.calls(begin, begin + room // len(group.keys))
            part.append(taken)
            room -= taken.size
            begin += len(taken.steps)
    if part:
        yield part


def _narrow(groups: Iterable[PointGroup], most: int) -> Iterator[PointGroup]:
    """Give the groups, with calls of more than ``most`` points in pieces."""
    for group in groups:
        if len(group.keys) <= most:
            yield group
            continue
        for values, timestamp, step in zip(*group[1:], strict=True):
            for begin in range(0, len(group.keys), most):
                piece = slice(begin, begin + most)
                yield PointGroup(group.keys[piece], (values[piece],), (timestamp,), (step,))


@lru_cache(maxsize=1024)
def _order_of(run_id: str) -> tuple[str, frozenset[str]]:
    """Give the stream of points of a run, and what they require."""
    batch = LogBatch(run_id=run_id)
    return batch.stream, batch.requires
