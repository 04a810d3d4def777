"""The part of a run handle that logs metrics, params and tags."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from hokusai_core import limits, validation
from hokusai_core.batching import split_batch
from hokusai_core.entities import Metric
from hokusai_core.errors import ConflictError, InvalidInputError
from hokusai_core.long_values import fit
from hokusai_core.operations import LogBatch, MetricPoint
from hokusai_core.packed_points import Points, keys_of
from hokusai_core.timestamps import PointTimestamps

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime


_MOST_CHECKED_KEYS = 10_000
_PLAIN_STEP = 2**62
_POINT_FIELDS = ("key", "value", "timestamp", "step")
_age = itemgetter(3, 2)
"""Gives step and timestamp of points, by which MLflow knows the newest."""


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
        self._buffer = runtime.points.buffer()
        self._timestamps = PointTimestamps(self._buffer.adding)
        # Of a PointSink, as they are: each method in between would be one more call in a loop.
        self.stamped = self._timestamps.stamped
        self.stamped_call = self._timestamps.stamped_call
        self._checked_keys: set[str] = set()
        self._last_keys: tuple[str, ...] = ()
        # Reentrant: a signal handler may log in the middle of a call.
        self._lock = threading.RLock()
        self._metrics: dict[str, tuple[int, int, float]] = {}
        """Step, timestamp and value of the newest point of each key."""
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = dict(tags)

    @property
    def run_id(self) -> str:
        """The run's id. It never changes: a provisional one stays valid for ever as an alias."""
        return self._run_id

    def reset_after_fork(self) -> None:
        """Make the locks anew: in a forked child, the parent's may be held for ever."""
        self._lock = threading.RLock()
        self._timestamps.reset_after_fork(self._buffer.adding)

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
        name = key if type(key) is str else self._checked_key(key)
        self._buffer.add(self, self._checked((name,), (value,), step, timestamp))

    def log_metrics(
        self, metrics: Mapping[str, Any], step: int | None = None, timestamp: int | None = None
    ) -> None:
        """Log several metrics at one step, in as few requests as MLflow's limits allow."""
        given = metrics if type(metrics) is dict else validation.mapping(metrics, "metrics")
        if given:
            points = self._checked(tuple(given), tuple(given.values()), step, timestamp)
            self._buffer.add(self, points)

    def log_param(self, key: str, value: Any) -> None:
        """Log a param. It can be logged again with the same value only.

        Args:
            key: As a metric's.
            value: Turned into text with ``str``; at most 6000 characters (see ``long_values``).
        """
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log several params.

        Raises:
            ConflictError: One was logged with another value; nothing was written where this handle
                logged it. What only the server knows of becomes a dead letter while it is away.
        """
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
        metrics: Iterable[Metric] | None = (),
        params: Mapping[str, Any] | Iterable[Any] | None = None,
        tags: Mapping[str, Any] | Iterable[Any] | None = None,
    ) -> None:
        """Log metrics, params and tags in one request, within MLflow's limits of one.

        Args:
            metrics: At most 1000 points, with their own steps and timestamps: values of
                ``hokusai_core.Metric`` or MLflow's.
            params: At most 100: a dict, or a list of objects with ``key`` and ``value`` as MLflow's.
            tags: At most 100, likewise; all three together at most 1000.

        Raises:
            InvalidInputError: A limit is exceeded, or a value is not allowed.
        """
        metrics = _points_of(metrics)
        params = _pairs_of(params, "params")
        tags = _pairs_of(tags, "tags")
        given = (len(metrics), len(params), len(tags))
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
            for key, value in params.items()
        }
        checked_tags = {
            validation.key(key, "tag"): validation.tag_value(value, key)
            for key, value in tags.items()
        }
        if metrics:
            self._buffer.flush()  # what was logged before gets its time before
        self._write_batch(
            metrics=[self._checked_point(point) for point in metrics],
            params=self._fitted(checked_params, "param", limits.PARAM_VALUE_CHARACTERS),
            tags=self._fitted(checked_tags, "tag", limits.TAG_VALUE_CHARACTERS),
        )

    def write_points(self, calls: Sequence[Points]) -> None:
        """Write points that were checked, in as few operations as the limits of a request allow."""
        short_cut = self._runtime.router.waiting_points
        if short_cut is not None and short_cut.append(self._run_id, calls):
            with self._lock:
                self._remember(calls)
        else:
            self._write_batch(
                metrics=[
                    MetricPoint(key=key, value=value, timestamp=timestamp, step=step)
                    for keys, values, timestamp, step in calls
                    for key, value in zip(keys, values, strict=True)
                ]
            )

    def expect_points(self, calls: Sequence[Points]) -> None:
        """Take note of points that another process appends to the journal."""
        if (waiting_points := self._runtime.router.waiting_points) is not None:
            waiting_points.expect(self._run_id)
        with self._lock:
            self._remember(calls)

    def _checked(
        self, keys: tuple[str, ...], values: tuple[Any, ...], step: Any, timestamp: Any
    ) -> Points:
        """Check what a call logs; without a timestamp, the points have no time yet."""
        if keys == self._last_keys:
            # A loop logs the same keys in each step: neither these nor a set of them is looked at.
            keys = self._last_keys
        else:
            if not self._checked_keys.issuperset(keys):
                keys = tuple([self._checked_key(key) for key in keys])
            self._last_keys = keys
        for value in values:
            if type(value) is not float:
                values = tuple(map(validation.metric_value, values, keys))
                break
        if type(step) is int and -_PLAIN_STEP < step < _PLAIN_STEP:
            at_step = step
        else:
            at_step = validation.step(step, keys[0])
        if timestamp is None:
            return keys, values, -monotonic_ns(), at_step
        if type(timestamp) is int and 0 <= timestamp <= limits.TIMESTAMP_MAX:
            return keys, values, timestamp, at_step
        return keys, values, validation.timestamp(timestamp, f"metric {keys[0]!r}"), at_step

    def _checked_key(self, key: Any) -> str:
        name = validation.key(key, "metric")
        if len(self._checked_keys) < _MOST_CHECKED_KEYS:
            self._checked_keys.add(name)
        return name

    def _checked_point(self, point: Metric) -> MetricPoint:
        """Check a point that the user made; one that needed no conversion is taken as it is."""
        checked = self._checked((point.key,), (point.value,), point.step, point.timestamp)
        (((key,), (value,), timestamp, step),) = self.stamped((checked,))
        if (
            type(point) is MetricPoint
            and key is point.key
            and value is point.value
            and timestamp is point.timestamp
            and step is point.step
        ):
            return point
        return MetricPoint(key=key, value=value, timestamp=timestamp, step=step)

    def _fitted(self, values: dict[str, str], what: str, limit: int) -> dict[str, str]:
        return fit(values, what, limit, self._runtime.settings)

    def _write_batch(
        self,
        metrics: Sequence[MetricPoint] = (),
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        if params:
            self._refuse_changed(params)
        for operation in split_batch(self._run_id, metrics, params, tags):
            self._write(operation)

    def _refuse_changed(self, params: dict[str, str]) -> None:
        """Refuse params that this handle logged with other values, also where no server can say so.

        Raises:
            ConflictError: One has another value.
        """
        with self._lock:
            changed = [
                f"{key!r} is {self._params[key]!r} and cannot become {value!r}"
                for key, value in params.items()
                if self._params.get(key, value) != value
            ]
        if changed:
            raise ConflictError(
                f"Params of run {self._run_id} were logged with other values: {'; '.join(changed)}. "
                "The first value is kept; log the new one under another name."
            )

    def _write(self, operation: LogBatch) -> None:
        self._runtime.router.write(operation)
        points = [
            ((point.key,), (point.value,), point.timestamp, point.step)
            for point in operation.metrics
        ]
        with self._lock:
            self._remember(points)
            if operation.params:
                self._params.update(operation.params)
            if operation.tags:
                self._tags.update(operation.tags)

    def _remember(self, calls: Sequence[Points]) -> None:
        """Keep the newest point of each key; the lock is held."""
        newest = self._metrics
        for keys, values, timestamp, step in calls if len(calls) == 1 else _latest(calls):
            age = (step, timestamp)
            for key, value in zip(keys, values, strict=True):
                known = newest.get(key)
                if known is None or age >= known[:2]:
                    newest[key] = (step, timestamp, value)


def _points_of(metrics: Any) -> Sequence[Metric]:
    """Check that these are points: with a key, a value, a timestamp and a step."""
    given = _listed(metrics, "metrics", "Metric values; for a dict there is log_metrics")
    for point in given:
        if not all(hasattr(point, name) for name in _POINT_FIELDS):
            raise InvalidInputError(
                f"metrics must be a list of Metric values, with {', '.join(_POINT_FIELDS)}, and one "
                f"of them is of type {type(point).__name__}. For a dict there is log_metrics."
            )
    return given


def _pairs_of(values: Any, what: str) -> Mapping[Any, Any]:
    """Give a dict of values; a list of objects with key and value is made one."""
    if values is None or isinstance(values, Mapping):
        return validation.mapping(values, what)
    pairs: dict[Any, Any] = {}
    for each in _listed(values, what, "objects with key and value, or a dict"):
        if not (hasattr(each, "key") and hasattr(each, "value")):
            raise InvalidInputError(
                f"{what} must be a dict, or a list of objects with key and value, and one of them is "
                f"of type {type(each).__name__}."
            )
        key = validation.key(each.key, what.removesuffix("s"))
        value = validation.param_value(each.value, key) if what == "params" else each.value
        if what == "params" and pairs.get(key, value) != value:
            raise InvalidInputError(
                f"Param {key!r} is given twice in one batch, with different values: give it once."
            )
        pairs[key] = value
    return pairs


def _listed(values: Any, what: str, expected: str) -> Sequence[Any]:
    """Give the members of a list; None is an empty one."""
    if values is None:
        return ()
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidInputError(
            f"{what} must be a list of {expected}. It is of type {type(values).__name__}."
        )
    return values if isinstance(values, list | tuple) else tuple(values)


def _latest(calls: Sequence[Points]) -> Iterable[Points]:
    """Give of calls that logged the same keys the newest."""
    latest: dict[tuple[str, ...], Points] = {}
    for keys, in_a_row in groupby(calls, keys_of):
        # Of those with the same age the last; max() gives the first.
        points = max(reversed(tuple(in_a_row)), key=_age)
        if keys not in latest or _age(points) >= _age(latest[keys]):
            latest[keys] = points
    return latest.values()
