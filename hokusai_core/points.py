"""Points of metrics on the short way to the journal: plain values, and at once their JSON text.

A point that waits is not looked at before it is delivered. So neither the points nor the operation that
carries them are built as objects; whoever asks for the operation gets it from its text.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

from pydantic_core import to_json

from hokusai_core.batching import SURELY_FITTING_METRICS, fitting_metrics
from hokusai_core.identifiers import new_op_id
from hokusai_core.journal import Entry
from hokusai_core.operations import AnyOperation, LogBatch, load_operation, now_milliseconds

Points = tuple[tuple[str, ...], tuple[float, ...], int, int]
"""What one call logs: keys, their values, one timestamp in milliseconds and one step; all checked.

A timestamp below zero is none: it is the reading of :func:`time.monotonic_ns` at the call, negated, and
a timestamp is made of it later (``stamped`` of :class:`~hokusai_core.group_commit.PointSink`)."""

_set = object.__setattr__


class PointsEntry(Entry):
    """A new entry for points of one run.

    Args:
        run_id: The one id that all writes to the run are queued under.
        calls: As many points as surely fit into one request.
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

    def __init__(self, run_id: str, calls: Sequence[Points], destination: str) -> None:
        op_id = new_op_id()
        stream, requires = _order_of(run_id)
        _set(self, "op_id", op_id)
        _set(self, "stream", stream)
        _set(self, "requires", requires)
        _set(self, "destination", destination)
        _set(self, "payload", points_text(op_id, now_milliseconds(), run_id, calls))
        _set(self, "_operation", None)

    @property
    def operation(self) -> AnyOperation:
        """The operation, read from its text with the first use."""
        operation = self._operation
        if operation is None:
            operation = load_operation(self.payload)
            _set(self, "_operation", operation)
        return operation


def points_text(op_id: str, created_at: int, run_id: str, calls: Sequence[Points]) -> str:
    """Give the JSON text of the :class:`LogBatch` that logs points, as ``dump_operation`` does."""
    metrics = ",".join(
        [
            text
            for keys, of_keys in groupby(calls, itemgetter(0))
            for text in _metrics_texts(keys, tuple(of_keys))
        ]
    )
    return (
        f'{{"kind":"log_batch","schema_version":1,"op_id":"{op_id}","created_at":{created_at},'
        f'"run_id":{_quoted(run_id)},"metrics":[{metrics}],"params":{{}},"tags":{{}}}}'
    )


def _metrics_texts(keys: tuple[str, ...], calls: Sequence[Points]) -> Iterator[str]:
    """Give the text of each call; all have the same keys."""
    template = _template(keys)
    values = to_json([call[1] for call in calls], inf_nan_mode="strings").decode()
    for numbers, (_, _, timestamp, step) in zip(values[2:-2].split("],["), calls, strict=True):
        end = f',"timestamp":{timestamp},"step":{step}}}'
        yield (template % tuple(numbers.split(","))).replace(_END, end)


_END = "\0"
"""Stands for the end of each point; in JSON text, this character does not occur."""


@lru_cache(maxsize=64)
def _template(keys: tuple[str, ...]) -> str:
    """Give the text of points with places for their values; a loop logs the same keys in each step."""
    return ",".join([f'{{"key":{_quoted(key).replace("%", "%%")},"value":%s{_END}' for key in keys])


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return to_json(text).decode()


def split_points(calls: Sequence[Points]) -> Sequence[Sequence[Points]]:
    """Give the points, in order, in parts that surely fit into one request each."""
    count = sum([len(keys) for keys, *_ in calls])
    if count <= SURELY_FITTING_METRICS:
        return (calls,)
    different = {keys for keys, *_ in calls}
    most = fitting_metrics(max([len(key) for keys in different for key in keys]))
    return (calls,) if count <= most else tuple(_cut(calls, most))


def _cut(calls: Sequence[Points], most: int) -> Iterator[Sequence[Points]]:
    part: list[Points] = []
    room = most
    for keys, values, timestamp, step in calls:
        begin = 0
        while begin < len(keys):
            taken = slice(begin, begin + room)
            part.append((keys[taken], values[taken], timestamp, step))
            room -= len(keys[taken])
            begin = taken.stop
            if not room:
                yield part
                part, room = [], most
    if part:
        yield part


@lru_cache(maxsize=1024)
def _order_of(run_id: str) -> tuple[str, frozenset[str]]:
    """Give the stream of points of a run, and what they require."""
    batch = LogBatch(run_id=run_id)
    return batch.stream, batch.requires
