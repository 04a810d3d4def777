"""Trying again: which failures, how often, within which time."""

import random
from collections.abc import Callable

import pytest

from hokusai_core.clock import Deadline
from hokusai_core.errors import RejectedError, TransientError, UnavailableError
from hokusai_core.retry import Retry, full_jitter
from tests.core.clocks import ManualClock


def scripted(*outcomes: Exception | str) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def call() -> str:
        outcome = outcomes[len(calls)]
        calls.append(1)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call, calls


def retry(clock: ManualClock, attempts: int = 3) -> Retry:
    return Retry(attempts, clock, random.Random(1))


def test_a_fast_failure_is_tried_again() -> None:
    clock = ManualClock()
    call, calls = scripted(UnavailableError("x", fast=True), "done")
    assert retry(clock).call(call, Deadline(6, clock), repeatable=True) == "done"
    assert len(calls) == 2
    assert len(clock.slept) == 1


def test_a_slow_failure_is_not_tried_again() -> None:
    clock = ManualClock()
    call, calls = scripted(UnavailableError("x"), "never")
    with pytest.raises(UnavailableError):
        retry(clock).call(call, Deadline(6, clock), repeatable=True)
    assert len(calls) == 1


def test_attempts_are_bounded() -> None:
    clock = ManualClock()
    call, calls = scripted(*[UnavailableError("x", fast=True) for _ in range(5)])
    with pytest.raises(UnavailableError):
        retry(clock, attempts=3).call(call, Deadline(60, clock), repeatable=True)
    assert len(calls) == 3


def test_a_permanent_failure_is_raised_at_once() -> None:
    clock = ManualClock()
    call, calls = scripted(RejectedError("no"), "never")
    with pytest.raises(RejectedError):
        retry(clock).call(call, Deadline(6, clock), repeatable=True)
    assert len(calls) == 1


def test_a_creation_that_may_have_been_applied_is_not_tried_again() -> None:
    clock = ManualClock()
    call, calls = scripted(UnavailableError("x", fast=True, maybe_applied=True), "a ghost")
    with pytest.raises(TransientError) as failure:
        retry(clock).call(call, Deadline(6, clock), repeatable=False)
    assert len(calls) == 1
    assert failure.value.maybe_applied


def test_what_one_attempt_may_have_applied_is_remembered_over_the_next() -> None:
    clock = ManualClock()
    call, _ = scripted(
        UnavailableError("reset", fast=True, maybe_applied=True),
        UnavailableError("refused", fast=True, maybe_applied=False),
    )
    with pytest.raises(TransientError) as failure:
        retry(clock, attempts=2).call(call, Deadline(6, clock), repeatable=True)
    assert failure.value.maybe_applied


def test_nothing_is_tried_again_that_cannot_begin_in_time() -> None:
    clock = ManualClock()
    call, calls = scripted(UnavailableError("x", fast=True, retry_after=7.0), "too late")
    with pytest.raises(UnavailableError):
        retry(clock).call(call, Deadline(6, clock), repeatable=True)
    assert len(calls) == 1
    assert clock.slept == []


def test_the_server_may_ask_for_a_wait() -> None:
    clock = ManualClock()
    call, _ = scripted(UnavailableError("x", fast=True, retry_after=2.5), "done")
    assert retry(clock).call(call, Deadline(6, clock), repeatable=True) == "done"
    assert clock.slept == [2.5]


def test_full_jitter_lies_between_nothing_and_the_doubled_base() -> None:
    source = random.Random(7)
    for attempt in range(1, 12):
        ceiling = min(60.0, 0.5 * 2 ** (attempt - 1))
        waits = [full_jitter(attempt, source, base=0.5, cap=60.0) for _ in range(200)]
        assert all(0.0 <= wait <= ceiling for wait in waits)
        assert max(waits) > ceiling * 0.8
        assert min(waits) < ceiling * 0.2
