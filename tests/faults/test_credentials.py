"""401 and 403 while something waits: who is held back, and what a reader gets."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, Settings
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.errors import (
    AuthenticationError,
    ConfigurationError,
    CredentialsRejectedError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.testing import MockBackend
from tests.core.clocks import ManualClock

OF_ONE_THING = PermissionDeniedError("denied", this_only=True)
OF_A_PROXY = PermissionDeniedError("denied", this_only=False)


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def manager(mock: MockBackend, tmp_path: Path) -> Iterator[ExperimentManager]:
    settings = Settings.load(
        data_dir=tmp_path,
        auto_sync=False,
        circuit_open_seconds=600.0,
        circuit_open_max_seconds=600.0,
        late_effect_seconds=0.0,
    )
    manager = ExperimentManager("credentials", backend=mock, settings=settings)
    yield manager
    manager.runtime.close_connections()


@pytest.mark.parametrize(
    ("refusal", "state"),
    [(OF_ONE_THING, "closed"), (OF_A_PROXY, "open"), (AuthenticationError("401"), "open")],
)
def test_a_worker_pauses_the_stream_or_the_destination(
    manager: ExperimentManager, mock: MockBackend, refusal: Exception, state: str
) -> None:
    runs = [manager.start_run(run_name=name, nested=True) for name in ("one", "two")]
    circuit = manager.runtime.circuits.primary
    mock.down()
    for run in runs:
        run.log_metric("loss", 0.5)
    mock.up()
    assert circuit.state == "open"
    circuit._open_until = 0.0
    mock.fail_next(refusal, n=1)
    worker = manager.runtime._new_worker("credentials")
    assert worker.run_once().kind == "held"
    assert circuit.state == state
    assert (worker.run_once().delivered > 0) is (state == "closed")


def test_a_first_refusal_is_told_and_a_later_one_is_an_outage(
    manager: ExperimentManager, mock: MockBackend
) -> None:
    mock.fail_next(AuthenticationError("401"), n=1)
    with pytest.raises(AuthenticationError):
        manager.start_run()
    assert manager.runtime.circuits.primary.state == "closed"
    with manager.start_run() as run:
        manager.runtime.streams.set_queued("run/another")
        mock.fail_next(AuthenticationError("401"), n=1)
        run.log_metric("loss", 0.5)
        assert run.sync_state == "pending"
        assert run.get().source == "fallback"


def test_a_read_during_the_healing_is_answered_from_here(
    manager: ExperimentManager, mock: MockBackend
) -> None:
    run = manager.start_run()
    run.log_metric("loss", 0.5)
    mock.fail_next(AuthenticationError("401"), n=1)
    with pytest.raises(AuthenticationError):
        run.get()
    manager.runtime.streams.set_queued("run/another")
    mock.fail_next(AuthenticationError("401"), n=1)
    found = run.get()
    assert (found.source, found.complete) == ("fallback", False)
    assert found.data.metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (None, "closed"),
        (RejectedError("x"), "closed"),
        (CredentialsRejectedError("x", this_only=True), "closed"),
        (CredentialsRejectedError("x"), "open"),
        (UnavailableError("x"), "open"),
        (KeyboardInterrupt(), "half_open"),
    ],
)
def test_the_circuit_judges_a_probe_by_what_leaves_it(
    outcome: BaseException | None, state: str
) -> None:
    circuit, clock = _breaker()
    _fail(circuit, UnavailableError("x"))
    clock.advance(1.0)
    _fail(circuit, outcome)
    assert circuit.state == state


def test_the_circuit_stays_open_as_long_as_the_server_asks() -> None:
    circuit, clock = _breaker()
    _fail(circuit, RateLimitedError("x", retry_after=20.0))
    clock.advance(19.0)
    assert circuit.admit() is None
    clock.advance(1.0)
    assert circuit.admit() is not None


def test_a_lease_without_room_for_a_send_is_refused() -> None:
    for settings in ({"write_timeout": 16.0}, {"artifact_idle_timeout": 16.0}):
        with pytest.raises(ConfigurationError, match="HOKUSAI_LEASE_SECONDS") as caught:
            Settings.load(**settings, lease_seconds=30.0)
        assert "at least 32" in str(caught.value)
        assert Settings.load(**settings, lease_seconds=32.0).lease_seconds == 32.0


def _breaker() -> tuple[CircuitBreaker, ManualClock]:
    clock = ManualClock()
    circuit = CircuitBreaker(
        failures=1,
        open_seconds=1.0,
        open_max_seconds=8.0,
        probe_seconds=10.0,
        clock=clock,
        random_source=random.Random(1),
    )
    return circuit, clock


def _fail(circuit: CircuitBreaker, outcome: BaseException | None) -> None:
    permit = circuit.admit()
    assert permit is not None
    try:
        with circuit.judging(permit):
            if outcome is not None:
                raise outcome
    except BaseException as raised:  # noqa: BLE001 - KeyboardInterrupt is among them
        assert raised is outcome
