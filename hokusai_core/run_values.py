"""The part of a run handle that logs metrics, params and tags."""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hokusai_core import limits, validation
from hokusai_core.batching import split_batch
from hokusai_core.entities import Metric
from hokusai_core.errors import InvalidInputError
from hokusai_core.long_values import fit
from hokusai_core.operations import LogBatch, MetricPoint
from hokusai_core.points import RawPoint
from hokusai_core.timestamps import PointTimestamps

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime


_MOST_CHECKED_KEYS = 10_000
_PLAIN_STEP = 2**62


class RunValues:
    """Logs values of one run, and remembers the newest of each.

    Args:
        runtime: The machinery.
        run_id: The run.
        tags: What the run was created with.
    """

    def __init__(self, runtime: "Runtime", run_id: str, tags: Mapping[str, str]) -> None:
        self._runtime = runtime
        self._run_id = run_id
        self._buffer = runtime.buffer
        self._timestamps = PointTimestamps()
        self._checked_keys: set[str] = set()
        self._lock = threading.Lock()
        self._metrics: dict[str, RawPoint] = {}
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = dict(tags)

    def reset_after_fork(self) -> None:
        """Make the locks anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.Lock()
        self._timestamps.reset_after_fork()

    def log_metric(
        self, key: str, value: Any, step: int | None = None, timestamp: int | None = None
    ) -> None:
        """Log one value of a metric.

        Args:
            key: At most 250 letters, digits, ``_ - . : /`` and spaces.
            value: A number, or an array or tensor of one element; NaN and infinities are values.
            step: A whole number of 64 bits; None is 0.
            timestamp: Milliseconds since 1970; None is now, later than any earlier point of this
                key and step.
        """
        point = self._raw_point(key, value, step, timestamp)
        buffer = self._buffer
        if buffer is not None:
            buffer.add(self, point)
        else:
            self.write_points((point,))

    def log_metrics(
        self, metrics: Mapping[str, Any], step: int | None = None, timestamp: int | None = None
    ) -> None:
        """Log several metrics at one step, in as few requests as MLflow's limits allow."""
        points = self._raw_points(metrics, step, timestamp)
        buffer = self._buffer
        if buffer is not None:
            buffer.add_all(self, points)
        else:
            self.write_points(points)

    def log_param(self, key: str, value: Any) -> None:
        """Log a param. It can be logged again with the same value only.

        Args:
            key: As a metric's.
            value: Turned into text with ``str``; at most 6000 characters (see ``long_values``).
        """
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log several params."""
        checked = {
            validation.key(key, "param"): validation.param_value(value, key)
            for key, value in validation.mapping(params, "params").items()
        }
        self._write_batch(params=self._fitted(checked, "param", limits.PARAM_VALUE_CHARACTERS))

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag; the last value stays.

        Args:
            key: As a metric's.
            value: Turned into text with ``str``; at most 8000 characters (see ``long_values``).
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags."""
        checked = {
            validation.key(key, "tag"): validation.tag_value(value, key)
            for key, value in validation.mapping(tags, "tags").items()
        }
        self._write_batch(tags=self._fitted(checked, "tag", limits.TAG_VALUE_CHARACTERS))

    def log_batch(
        self,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Log metrics, params and tags in one request, within MLflow's limits of one.

        Args:
            metrics: At most 1000 points, with their own steps and timestamps.
            params: At most 100.
            tags: At most 100; all three together at most 1000.

        Raises:
            InvalidInputError: A limit is exceeded, or a value is not allowed.
        """
        given = (len(metrics), len(params or {}), len(tags or {}))
        allowed = (limits.METRICS_PER_REQUEST, limits.PARAMS_PER_REQUEST, limits.TAGS_PER_REQUEST)
        if any(count > most for count, most in zip(given, allowed, strict=True)) or (
            sum(given) > limits.ENTITIES_PER_REQUEST
        ):
            raise InvalidInputError(
                f"A batch of {given[0]} metrics, {given[1]} params and {given[2]} tags is over "
                "MLflow's limits of 1000 metrics, 100 params, 100 tags, and 1000 in all. Split it, "
                "or use log_metrics, log_params and set_tags, which split."
            )
        checked_params = {
            validation.key(key, "param"): validation.param_value(value, key)
            for key, value in (params or {}).items()
        }
        checked_tags = {
            validation.key(key, "tag"): validation.tag_value(value, key)
            for key, value in (tags or {}).items()
        }
        self._write_batch(
            metrics=[self._checked_point(point) for point in metrics],
            params=self._fitted(checked_params, "param", limits.PARAM_VALUE_CHARACTERS),
            tags=self._fitted(checked_tags, "tag", limits.TAG_VALUE_CHARACTERS),
        )

    def write_points(self, points: Sequence[RawPoint]) -> None:
        """Write points that were checked, in as few operations as the limits of a request allow."""
        short_cut = self._runtime.router.waiting_points
        if short_cut is not None and short_cut.append(self._run_id, points):
            with self._lock:
                self._remember(points)
        else:
            self._write_batch(metrics=[metric_point(point) for point in points])

    def _raw_point(self, key: Any, value: Any, step: Any, timestamp: Any) -> RawPoint:
        """Check a point, and give it its time."""
        known = type(key) is str and key in self._checked_keys
        name = key if known else self._checked_key(key)
        number = value if type(value) is float else validation.metric_value(value, name)
        if type(step) is int and -_PLAIN_STEP < step < _PLAIN_STEP:
            at_step = step
        else:
            at_step = validation.step(step, name)
        return name, number, self._time((name,), at_step, timestamp), at_step

    def _raw_points(self, metrics: Any, step: Any, timestamp: Any) -> list[RawPoint]:
        """Check points of one step, and give them their time."""
        given = metrics if type(metrics) is dict else validation.mapping(metrics, "metrics")
        if not given:
            return []
        if not given.keys() <= self._checked_keys:
            given = {self._checked_key(key): value for key, value in given.items()}
        numbers = [
            (key, value if type(value) is float else validation.metric_value(value, key))
            for key, value in given.items()
        ]
        if type(step) is int and -_PLAIN_STEP < step < _PLAIN_STEP:
            at_step = step
        else:
            at_step = validation.step(step, numbers[0][0])
        time_ms = self._time(given, at_step, timestamp)
        return [(key, number, time_ms, at_step) for key, number in numbers]

    def _checked_key(self, key: Any) -> str:
        name = validation.key(key, "metric")
        if len(self._checked_keys) < _MOST_CHECKED_KEYS:
            self._checked_keys.add(name)
        return name

    def _time(self, keys: Collection[str], step: int, timestamp: Any) -> int:
        """Give the time of points: now where the caller gave none."""
        if timestamp is None:
            return self._timestamps.next(keys, step)
        if type(timestamp) is int and 0 <= timestamp <= limits.TIMESTAMP_MAX:
            time_ms = timestamp
        else:
            time_ms = validation.timestamp(timestamp, f"metric {next(iter(keys))!r}")
        self._timestamps.seen(keys, step, time_ms)
        return time_ms

    def _checked_point(self, point: Metric) -> MetricPoint:
        """Check a point that the user made; one that needed no conversion is taken as it is."""
        raw = self._raw_point(point.key, point.value, point.step, point.timestamp)
        key, value, timestamp, step = raw
        if (
            type(point) is MetricPoint
            and key is point.key
            and value is point.value
            and timestamp is point.timestamp
            and step is point.step
        ):
            return point
        return metric_point(raw)

    def _fitted(self, values: dict[str, str], what: str, limit: int) -> dict[str, str]:
        return fit(values, what, limit, self._runtime.settings)

    def _write_batch(
        self,
        metrics: Sequence[MetricPoint] = (),
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        for operation in split_batch(self._run_id, metrics, params, tags):
            self._write(operation)

    def _write(self, operation: LogBatch) -> None:
        self._runtime.router.write(operation)
        points = [
            (point.key, point.value, point.timestamp, point.step) for point in operation.metrics
        ]
        with self._lock:
            self._remember(points)
            if operation.params:
                self._params.update(operation.params)
            if operation.tags:
                self._tags.update(operation.tags)

    def _remember(self, points: Sequence[RawPoint]) -> None:
        """Keep the newest point of each key; the lock is held."""
        newest = self._metrics
        for point in points:
            known = newest.get(point[0])
            if known is None or (point[3], point[2]) >= (known[3], known[2]):
                newest[point[0]] = point


def metric_point(point: RawPoint) -> MetricPoint:
    """Give a point as a value."""
    key, value, timestamp, step = point
    return MetricPoint(key=key, value=value, timestamp=timestamp, step=step)
