"""The circuit breaker: its states over a clock that the tests move."""

import random
import threading

import pytest

from hokusai_core.circuit_breaker import CircuitBreaker, Permit
from tests.core.clocks import ManualClock


def breaker(clock: ManualClock, *, failures: int = 1) -> CircuitBreaker:
    return CircuitBreaker(
        failures=failures,
        open_seconds=1.0,
        open_max_seconds=8.0,
        probe_seconds=10.0,
        clock=clock,
        random_source=random.Random(1),
    )


def admitted(circuit: CircuitBreaker) -> Permit:
    permit = circuit.admit()
    assert permit is not None
    return permit


def test_it_opens_after_the_given_number_of_failures_in_a_row() -> None:
    circuit = breaker(ManualClock(), failures=3)
    for _ in range(2):
        circuit.failed(admitted(circuit))
    circuit.succeeded(admitted(circuit))
    for _ in range(3):
        assert circuit.state == "closed"
        circuit.failed(admitted(circuit))
    assert circuit.state == "open"
    assert circuit.admit() is None


def test_it_admits_one_probe_when_its_time_is_over_and_closes_when_that_succeeds() -> None:
    clock = ManualClock()
    circuit = breaker(clock)
    circuit.failed(admitted(circuit))
    assert 0.75 <= circuit.seconds_until_probe() <= 1.0
    clock.advance(1.0)
    assert circuit.state == "half_open"
    probe = admitted(circuit)
    assert probe.probe
    assert circuit.admit() is None
    circuit.succeeded(probe)
    assert circuit.state == "closed"
    assert not admitted(circuit).probe


def test_the_open_time_doubles_to_its_cap_and_begins_anew_after_a_success() -> None:
    clock = ManualClock()
    circuit = breaker(clock)
    circuit.failed(admitted(circuit))
    seen = [circuit.seconds_until_probe()]
    for _ in range(5):
        clock.advance(circuit.seconds_until_probe())
        circuit.failed(admitted(circuit))
        seen.append(circuit.seconds_until_probe())
    for seconds, longest in zip(seen, (1, 2, 4, 8, 8, 8), strict=True):
        assert 0.75 * longest <= seconds <= longest
    clock.advance(circuit.seconds_until_probe())
    circuit.succeeded(admitted(circuit))
    circuit.failed(admitted(circuit))
    assert circuit.seconds_until_probe() <= 1.0


def test_a_probe_that_dies_is_replaced() -> None:
    clock = ManualClock()
    circuit = breaker(clock)
    circuit.failed(admitted(circuit))
    clock.advance(1.0)
    dead = admitted(circuit)
    clock.advance(9.9)
    assert circuit.admit() is None
    clock.advance(0.2)
    second = admitted(circuit)
    circuit.succeeded(dead)
    assert circuit.state == "half_open"
    circuit.succeeded(second)
    assert circuit.state == "closed"


def test_a_probe_that_is_given_back_lets_the_next_one_in() -> None:
    clock = ManualClock()
    circuit = breaker(clock)
    circuit.failed(admitted(circuit))
    clock.advance(1.0)
    circuit.abandoned(admitted(circuit))
    assert admitted(circuit).probe


def test_late_answers_from_before_the_opening_change_nothing() -> None:
    clock = ManualClock()
    circuit = breaker(clock)
    slow, failing = admitted(circuit), admitted(circuit)
    circuit.failed(failing)
    circuit.succeeded(slow)
    assert circuit.state == "open"


def test_listeners_hear_each_change_outside_the_lock_and_may_fail() -> None:
    clock = ManualClock()
    circuit = breaker(clock)
    heard: list[tuple[str, str]] = []

    def listener(old: str, new: str) -> None:
        heard.append((old, new))
        assert circuit.state in ("open", "half_open", "closed")  # takes the lock

    def broken(old: str, new: str) -> None:
        raise RuntimeError(f"{old} {new}")

    circuit.listen(broken)
    circuit.listen(listener)
    circuit.failed(admitted(circuit))
    clock.advance(1.0)
    circuit.succeeded(admitted(circuit))
    assert heard == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


@pytest.mark.parametrize("threads", [32])
def test_many_threads_get_one_probe_among_them(threads: int) -> None:
    clock = ManualClock()
    circuit = breaker(clock)
    circuit.failed(admitted(circuit))
    clock.advance(1.0)
    barrier = threading.Barrier(threads)
    permits: list[Permit | None] = []

    def ask() -> None:
        barrier.wait()
        permits.append(circuit.admit())

    workers = [threading.Thread(target=ask) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len([permit for permit in permits if permit is not None]) == 1


def test_who_insists_is_admitted_as_a_probe() -> None:
    circuit = breaker(ManualClock())
    circuit.failed(admitted(circuit))
    assert circuit.admit() is None
    probe = circuit.admit(insist=True)
    assert probe is not None
    assert probe.probe
    assert circuit.admit() is None
    circuit.succeeded(probe)
    assert circuit.state == "closed"
