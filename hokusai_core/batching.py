"""Splitting and joining what goes into one ``log_batch`` request, within MLflow's limits."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from hokusai_core import limits
from hokusai_core.operations import LogBatch, MetricPoint

_CHARACTER_BYTES = 12
"""What a character of a key takes at most, as JSON."""

_METRIC_BYTES = 120
"""What a metric takes beside its key."""

_ENVELOPE_BYTES = 4096
"""Room for the request's own keys and the run id."""


def fitting_metrics(longest_key: int) -> int:
    """Say how many metrics surely fit into one request, with keys of at most so many characters."""
    size = longest_key * _CHARACTER_BYTES + _METRIC_BYTES
    return min(limits.METRICS_PER_REQUEST, (limits.REQUEST_BYTES - _ENVELOPE_BYTES) // size)


SURELY_FITTING_METRICS = fitting_metrics(limits.KEY_CHARACTERS)
"""So many metrics fit into one request whatever their keys."""


@dataclass
class _Batch:
    """A request that is being filled."""

    metrics: list[MetricPoint] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    size: int = _ENVELOPE_BYTES

    @property
    def empty(self) -> bool:
        return not (self.metrics or self.params or self.tags)

    def fits(self, metrics: int, params: int, tags: int, size: int) -> bool:
        counts = (len(self.metrics) + metrics, len(self.params) + params, len(self.tags) + tags)
        return (
            counts[0] <= limits.METRICS_PER_REQUEST
            and counts[1] <= limits.PARAMS_PER_REQUEST
            and counts[2] <= limits.TAGS_PER_REQUEST
            and sum(counts) <= limits.ENTITIES_PER_REQUEST
            and self.size + size <= limits.REQUEST_BYTES
        )

    def takes(self, batch: LogBatch, size: int) -> bool:
        """Say whether another batch fits, and gives no param another value."""
        if batch.only_metrics:
            return self.fits(len(batch.metrics), 0, 0, size)
        new_params = [name for name in batch.params if name not in self.params]
        new_tags = [name for name in batch.tags if name not in self.tags]
        contradicts = any(
            self.params.get(name, value) != value for name, value in batch.params.items()
        )
        return not contradicts and self.fits(
            len(batch.metrics), len(new_params), len(new_tags), size
        )

    def operation(self, run_id: str) -> LogBatch:
        return LogBatch(
            run_id=run_id,
            metrics=tuple(self.metrics),
            params=dict(self.params),
            tags=dict(self.tags),
        )


@dataclass(frozen=True)
class Coalesced:
    """One request that carries the next ``count`` queued batches, in their order."""

    operation: LogBatch
    count: int


def split_batch(
    run_id: str,
    metrics: Sequence[MetricPoint] = (),
    params: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> Iterator[LogBatch]:
    """Give the operations that log all of this, each within the limits of one request."""
    if metrics and not params and not tags and _surely_fit(metrics):
        yield LogBatch(run_id=run_id, metrics=tuple(metrics))
        return
    batch = _Batch()
    for point in metrics:
        size = _metric_size(point)
        if not batch.fits(1, 0, 0, size):
            yield batch.operation(run_id)
            batch = _Batch()
        batch.metrics.append(point)
        batch.size += size
    for name, value in (params or {}).items():
        size = _pair_size(name, value)
        if not batch.fits(0, 1, 0, size):
            yield batch.operation(run_id)
            batch = _Batch()
        batch.params[name] = value
        batch.size += size
    for name, value in (tags or {}).items():
        size = _pair_size(name, value)
        if not batch.fits(0, 0, 1, size):
            yield batch.operation(run_id)
            batch = _Batch()
        batch.tags[name] = value
        batch.size += size
    if not batch.empty:
        yield batch.operation(run_id)


def coalesce(batches: Iterable[LogBatch]) -> Iterator[Coalesced]:
    """Join consecutive batches of one run into as few requests as the limits allow.

    Equal params are sent once; another value for a param begins a new request, so that the refusal
    of one does not look like the refusal of the other; of several values of a tag the last stays.
    """
    first: LogBatch | None = None
    count = 0
    joined = _Batch()
    for batch in batches:
        size = _batch_size(batch)
        if first is not None and not joined.takes(batch, size):
            yield Coalesced(first if count == 1 else joined.operation(first.run_id), count)
            first, count, joined = None, 0, _Batch()
        first = first or batch
        count += 1
        joined.metrics.extend(batch.metrics)
        joined.params.update(batch.params)
        joined.tags.update(batch.tags)
        joined.size += size
    if first is not None:
        yield Coalesced(first if count == 1 else joined.operation(first.run_id), count)


def _surely_fit(metrics: Sequence[MetricPoint]) -> bool:
    """Say without measuring each key whether metrics fit into one request."""
    count = len(metrics)
    if count <= SURELY_FITTING_METRICS:
        return True
    if count > limits.METRICS_PER_REQUEST:
        return False
    characters = sum([len(point.key) for point in metrics])
    most = characters * _CHARACTER_BYTES + count * _METRIC_BYTES + _ENVELOPE_BYTES
    return most <= limits.REQUEST_BYTES


def _batch_size(batch: LogBatch) -> int:
    size = sum([_metric_size(point) for point in batch.metrics])
    if not batch.only_metrics:
        pairs = (*batch.params.items(), *batch.tags.items())
        size += sum([_pair_size(name, value) for name, value in pairs])
    return size


def _metric_size(point: MetricPoint) -> int:
    return _key_size(point.key) + _METRIC_BYTES


@lru_cache(maxsize=4096)
def _key_size(key: str) -> int:
    return _text_size(key)


def _pair_size(name: str, value: str) -> int:
    return _text_size(name) + _text_size(value) + 40


def _text_size(text: str) -> int:
    return len(json.dumps(text))
