"""Times of metric points: strictly increasing for each key and step, whatever the wall clock does."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hokusai_core.timestamps import PointTimestamps


def logged(
    timestamps: PointTimestamps, keys: tuple[str, ...], step: int, monotonic_ns: int | None = None
) -> int:
    """Give the time of points that are logged now, or at a reading of the clock."""
    clock = time.monotonic_ns() if monotonic_ns is None else monotonic_ns
    values = tuple(0.5 for _ in keys)
    ((_, _, timestamp, _),) = timestamps.stamped([(keys, values, -clock, step)])
    return timestamp


def test_equal_points_in_one_millisecond_get_different_times() -> None:
    timestamps = PointTimestamps()
    seen = [logged(timestamps, ("loss",), 1) for _ in range(500)]
    assert seen == sorted(set(seen))


def test_points_of_other_steps_keep_the_clock() -> None:
    timestamps = PointTimestamps()
    start = time.time_ns() // 1_000_000
    for step in range(20_000):
        last = logged(timestamps, ("loss",), step)
    assert last - start <= (time.time_ns() // 1_000_000) - start + 5


def test_a_time_that_the_caller_gave_is_passed() -> None:
    timestamps = PointTimestamps()
    ahead = logged(timestamps, ("loss",), 1) + 10_000
    timestamps.seen(("loss",), 1, ahead)
    assert logged(timestamps, ("loss",), 1) == ahead + 1
    assert logged(timestamps, ("loss",), 2) < ahead


def test_a_wall_clock_that_jumps_back_reorders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    timestamps = PointTimestamps()
    before = logged(timestamps, ("loss",), 1)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert logged(timestamps, ("loss",), 1) > before


def test_threads_never_share_a_time() -> None:
    timestamps = PointTimestamps()
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: logged(timestamps, ("loss",), 0), range(4000)))
    assert len(set(seen)) == len(seen)


def test_it_remembers_no_more_than_the_newest_millisecond() -> None:
    timestamps = PointTimestamps()
    for step in range(5000):
        logged(timestamps, ("loss",), step)
    time.sleep(0.002)
    logged(timestamps, ("loss",), 5000)
    assert len(timestamps._last) == 1


def test_points_of_one_call_have_one_time_later_than_any_of_theirs() -> None:
    timestamps = PointTimestamps()
    ahead = logged(timestamps, ("loss",), 1) + 10_000
    timestamps.seen(("loss",), 1, ahead)
    assert logged(timestamps, ("loss", "accuracy"), 1) == ahead + 1
    assert logged(timestamps, ("accuracy",), 1) == ahead + 2
    assert logged(timestamps, ("other",), 1) < ahead


def test_a_reading_of_the_clock_from_before_never_repeats_a_time() -> None:
    """Threads queue their points in another order than that in which they look at the clock."""
    timestamps = PointTimestamps()
    first = time.monotonic_ns()
    time.sleep(0.003)
    later = time.monotonic_ns()
    early = logged(timestamps, ("loss",), 1, first)
    late = logged(timestamps, ("accuracy",), 1, later)
    assert late > early
    again = logged(timestamps, ("loss",), 1, first)
    assert again == late
    assert logged(timestamps, ("loss",), 1, first) == late + 1
