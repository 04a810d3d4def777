"""Which metric points are one, and which of them is the latest, by MLflow's rules.

MLflow's database keeps points under the key (key, value, timestamp, step), with infinities stored
as the largest finite number and NaN as 0 with a mark of its own.
"""

import math
import sys
from collections.abc import Iterable

from hokusai_core.operations import MetricPoint

PointIdentity = tuple[str, int, int, float, bool]


def stored_value(value: float) -> float:
    """Give the number that MLflow's database stores for a value: NaN as 0, infinities as finite."""
    if math.isnan(value):
        return 0.0
    if math.isinf(value):
        return math.copysign(sys.float_info.max, value)
    return value


def point_identity(point: MetricPoint) -> PointIdentity:
    """Give what makes a point distinct: two points with the same identity are one."""
    return (
        point.key,
        point.timestamp,
        point.step,
        stored_value(point.value),
        math.isnan(point.value),
    )


def is_later(point: MetricPoint, other: MetricPoint) -> bool:
    """Say whether a point shows as the metric's latest value before another one."""
    return _rank(point) > _rank(other)


def latest_points(points: Iterable[MetricPoint]) -> dict[str, MetricPoint]:
    """Give the latest point of each key: the greatest by (step, timestamp, value)."""
    latest: dict[str, MetricPoint] = {}
    for point in points:
        known = latest.get(point.key)
        if known is None or is_later(point, known):
            latest[point.key] = point
    return latest


def in_order(points: Iterable[MetricPoint]) -> tuple[MetricPoint, ...]:
    """Give the distinct points in the order of a metric's history: (timestamp, step, value)."""
    distinct = {point_identity(point): point for point in reversed(tuple(points))}
    return tuple(sorted(distinct.values(), key=point_identity))


def _rank(point: MetricPoint) -> tuple[int, int, float]:
    return (point.step, point.timestamp, stored_value(point.value))
