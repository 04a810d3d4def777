"""Times of metric points: strictly increasing for each key and step, whatever the wall clock does."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hokusai_core.timestamps import PointTimestamps


def test_equal_points_in_one_millisecond_get_different_times() -> None:
    timestamps = PointTimestamps()
    seen = [timestamps.next(("loss",), 1) for _ in range(500)]
    assert seen == sorted(set(seen))


def test_points_of_other_steps_keep_the_clock() -> None:
    timestamps = PointTimestamps()
    start = time.time_ns() // 1_000_000
    for step in range(20_000):
        last = timestamps.next(("loss",), step)
    assert last - start <= (time.time_ns() // 1_000_000) - start + 5


def test_a_time_that_the_caller_gave_is_passed() -> None:
    timestamps = PointTimestamps()
    ahead = timestamps.next(("loss",), 1) + 10_000
    timestamps.seen(("loss",), 1, ahead)
    assert timestamps.next(("loss",), 1) == ahead + 1
    assert timestamps.next(("loss",), 2) < ahead


def test_a_wall_clock_that_jumps_back_reorders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    timestamps = PointTimestamps()
    before = timestamps.next(("loss",), 1)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert timestamps.next(("loss",), 1) > before


def test_threads_never_share_a_time() -> None:
    timestamps = PointTimestamps()
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: timestamps.next(("loss",), 0), range(4000)))
    assert len(set(seen)) == len(seen)


def test_it_remembers_no_more_than_the_newest_millisecond() -> None:
    timestamps = PointTimestamps()
    for step in range(5000):
        timestamps.next(("loss",), step)
    time.sleep(0.002)
    timestamps.next(("loss",), 5000)
    assert len(timestamps._last) == 1


def test_points_of_one_call_have_one_time_later_than_any_of_theirs() -> None:
    timestamps = PointTimestamps()
    ahead = timestamps.next(("loss",), 1) + 10_000
    timestamps.seen(("loss",), 1, ahead)
    assert timestamps.next(("loss", "accuracy"), 1) == ahead + 1
    assert timestamps.next(("accuracy",), 1) == ahead + 2
    assert timestamps.next(("other",), 1) < ahead


def test_a_reading_of_the_clock_from_before_never_repeats_a_time() -> None:
    """Threads queue their points in another order than that in which they look at the clock."""
    timestamps = PointTimestamps()
    first = time.monotonic_ns()
    time.sleep(0.003)
    later = time.monotonic_ns()
    early = timestamps.next(("loss",), 1, first)
    late = timestamps.next(("accuracy",), 1, later)
    assert late > early
    again = timestamps.next(("loss",), 1, first)
    assert again == late
    assert timestamps.next(("loss",), 1, first) == late + 1
