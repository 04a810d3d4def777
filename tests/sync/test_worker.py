"""One worker, step by step, over a journal and a primary in memory and a clock that tests move."""

import random

import pytest

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.claim_progress import Step
from hokusai_core.entities import Receipt
from hokusai_core.errors import (
    AuthenticationError,
    PermissionDeniedError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.journal import Claim, ClaimRequest, Entry, EntryQuery, QueuedOperation
from hokusai_core.operations import (
    AnyOperation,
    CreateExperiment,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    LogBatch,
    MetricPoint,
    Operation,
    SetAlias,
    UpdateRun,
)
from hokusai_core.plugins import BackendConfig
from hokusai_core.poison import PoisonGuard
from hokusai_core.router import Circuits
from hokusai_core.settings import Settings
from hokusai_core.sync import SyncWorker
from hokusai_core.testing import MockBackend
from hokusai_core.testing.memory_journal import MemoryJournal
from tests.core.clocks import ManualClock


class Bench:
    """A worker with all that it needs."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.mock = MockBackend()
        self.journal = MemoryJournal(now=self.clock.monotonic)
        self.settings = Settings.load(late_effect_seconds=60.0, max_attempts=3)
        self.primary: OpenBackend = open_backend(
            self.mock.plugin, BackendConfig(settings=self.settings)
        )
        self.circuits = Circuits(self._breaker(), self._breaker())
        self.poison = PoisonGuard(self.settings.max_attempts)
        handle = open_backend(
            self.journal.plugin, BackendConfig(settings=self.settings, role="journal")
        )
        self.worker = SyncWorker(
            handle.journal,
            self.primary,
            self.circuits,
            self.settings,
            "worker",
            self.clock,
            self.poison,
        )

    def _breaker(self) -> CircuitBreaker:
        return CircuitBreaker(
            failures=1,
            open_seconds=1.0,
            open_max_seconds=1.0,
            probe_seconds=10.0,
            clock=self.clock,
            random_source=random.Random(1),
        )

    def append(self, *operations: AnyOperation, maybe_applied: bool = False) -> None:
        self.journal.journal_append(
            tuple(
                Entry(
                    operation=operation,
                    destination=self.mock.destination,
                    maybe_applied=maybe_applied,
                )
                for operation in operations
            ),
            None,
        )

    def begin(self) -> CreateRun:
        """Append an experiment and a run."""
        experiment = CreateExperiment(name="e")
        run = CreateRun(experiment_id=experiment.provisional_id or "", run_name="r", start_time=1)
        self.append(experiment, run)
        return run

    def steps(self, seconds: float = 0.0, most: int = 50) -> list[Step]:
        """Step until nothing is due, with time going on in between."""
        self.clock.advance(seconds)
        done = []
        for _ in range(most):
            done.append(self.worker.run_once())
            if done[-1].kind == "idle" or not done[-1].stream:
                return done
        raise AssertionError(done)

    def entries(self, *states: str) -> list[QueuedOperation]:
        query = EntryQuery.model_validate({"states": states or ("waiting",)})
        return list(self.journal.journal_read(query))

    def sent(self, hook: str) -> int:
        return len([name for name, _ in self.mock.calls if name == hook])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def batch(run: CreateRun, **values: object) -> LogBatch:
    return LogBatch.model_validate({"run_id": run.provisional_id, **values})


def metrics(run: CreateRun, count: int) -> list[LogBatch]:
    return [
        batch(run, metrics=(MetricPoint(key="m", value=n, timestamp=n, step=n),))
        for n in range(count)
    ]


def test_what_waits_is_delivered_in_order_with_few_requests(bench: Bench) -> None:
    run = bench.begin()
    bench.append(*metrics(run, 2500))
    bench.append(UpdateRun(run_id=run.provisional_id or "", status="FINISHED", end_time=9))
    bench.steps()
    assert bench.entries() == []
    assert bench.sent("tracking_log_batch") == 3
    (stored,) = bench.mock.store.runs()
    assert (stored.info.status, stored.info.end_time) == ("FINISHED", 9)
    assert len(bench.mock.store.metric_history(stored.info.run_id, "m")) == 2500
    assert bench.journal.journal_resolve((run.provisional_id or "",)) == {
        run.provisional_id: stored.info.run_id
    }


def test_one_refused_value_condemns_no_other(bench: Bench) -> None:
    run = bench.begin()
    bench.append(
        batch(run, params={"lr": "1"}),
        batch(run, params={"layers": "3"}),
        batch(run, params={"lr": "2"}),
        batch(run, tags={"after": "yes"}),
    )
    bench.steps()
    (dead,) = bench.entries("dead")
    assert isinstance(dead.operation, LogBatch)
    assert dead.operation.params == {"lr": "2"}
    assert "lr" in dead.error
    (stored,) = bench.mock.store.runs()
    assert stored.data.params == {"lr": "1", "layers": "3"}
    assert stored.data.tags["after"] == "yes"


def test_a_dead_creation_holds_its_stream_back_until_it_is_retried(bench: Bench) -> None:
    run = bench.begin()
    bench.append(batch(run, tags={"a": "b"}))
    bench.mock.reject("create_run", RejectedError("no runs today"))
    bench.steps()
    assert [entry.kind for entry in bench.entries("dead")] == ["create_run"]
    assert [entry.kind for entry in bench.entries()] == ["log_batch"]
    bench.steps(600)
    assert bench.sent("tracking_create_run") == 1
    bench.mock.accept("create_run")
    assert bench.journal.journal_retry((run.op_id,)) == 1
    bench.steps(600)
    assert bench.entries("waiting", "dead") == []
    (stored,) = bench.mock.store.runs()
    assert stored.data.tags["a"] == "b"


@pytest.mark.parametrize("error", [AuthenticationError("401"), PermissionDeniedError("403")])
def test_refused_credentials_pause_and_condemn_nothing(bench: Bench, error: Exception) -> None:
    bench.begin()
    bench.mock.fail_next(error, n=3)
    bench.steps()
    assert bench.entries("dead") == []
    assert len(bench.entries()) == 2
    for _ in range(5):
        bench.steps(120)
    assert bench.entries() == []


def test_an_ambiguous_creation_is_searched_after_the_window_and_adopted(bench: Bench) -> None:
    experiment = CreateExperiment(name="e")
    bench.append(experiment)
    bench.steps()
    run = CreateRun(experiment_id=experiment.provisional_id or "", run_name="r", start_time=1)
    bench.append(run)
    bench.mock.time_out_after_applying(1)
    bench.steps()
    bench.steps(50)
    assert bench.entries()[0].maybe_applied
    bench.steps(20)
    assert bench.entries() == []
    assert bench.sent("tracking_create_run") == 1
    (stored,) = bench.mock.store.runs()
    assert stored.data.tags[OP_ID_TAG] == run.op_id


def test_a_creation_that_lands_late_is_found_and_not_made_again(bench: Bench) -> None:
    experiment = CreateExperiment(name="e")
    bench.append(experiment)
    bench.steps()
    run = CreateRun(experiment_id=experiment.provisional_id or "", run_name="r", start_time=1)
    bench.append(run)
    bench.mock.delay_effect(1)
    bench.steps()
    bench.steps(50)
    assert bench.sent("tracking_create_run") == 1
    bench.mock.land_late_effects()
    bench.steps(20)
    assert bench.entries() == []
    assert bench.sent("tracking_create_run") == 1
    assert len(bench.mock.store.runs()) == 1


def test_a_tag_that_lands_late_does_not_undo_a_later_one(bench: Bench) -> None:
    run = bench.begin()
    bench.steps()
    bench.append(batch(run, tags={"stage": "early"}))
    bench.mock.delay_effect(1)
    bench.steps()
    bench.append(batch(run, tags={"stage": "late"}))
    bench.steps(50)
    bench.mock.land_late_effects()
    bench.steps(20)
    assert bench.entries() == []
    assert bench.mock.store.runs()[0].data.tags["stage"] == "late"


def test_points_that_may_have_been_applied_are_sent_again_at_once(bench: Bench) -> None:
    run = bench.begin()
    bench.steps()
    bench.append(*metrics(run, 3))
    bench.mock.time_out_after_applying(1)
    bench.steps()
    bench.steps(5)
    assert bench.entries() == []
    (stored,) = bench.mock.store.runs()
    assert len(bench.mock.store.metric_history(stored.info.run_id, "m")) == 3


def test_an_operation_that_always_breaks_the_server_is_given_up(bench: Bench) -> None:
    run, other = bench.begin(), bench.begin()
    bench.steps()
    bad = batch(run, params={"bad": "x"})
    bench.append(bad, batch(run, params={"good": "y"}))
    write = bench.primary.write

    def breaking(operation: Operation, *rest: object) -> Receipt:
        if isinstance(operation, LogBatch) and "bad" in operation.params:
            raise UnavailableError("HTTP 500", maybe_applied=True)
        return write(operation, *rest)  # type: ignore[arg-type]

    bench.primary.write = breaking  # type: ignore[method-assign]
    for attempt in range(8):
        bench.steps(120)
        bench.append(batch(other, tags={"n": str(attempt)}))
        bench.steps(120)
    assert [entry.op_id for entry in bench.entries("dead")] == [bad.op_id]
    assert "others of its kind succeeded" in bench.entries("dead")[0].error
    assert bench.entries() == []
    assert {"good": "y"} in [stored.data.params for stored in bench.mock.store.runs()]


def test_a_server_that_writes_nothing_condemns_nothing(bench: Bench) -> None:
    run = bench.begin()
    bench.append(batch(run, tags={"a": "b"}))
    for _ in range(30):
        bench.mock.fail_next(UnavailableError("HTTP 500", maybe_applied=True), n=1)
        bench.steps(120)
    assert bench.entries("dead") == []
    bench.mock.forget_steps()
    for _ in range(4):
        bench.steps(600)
    assert bench.entries() == []


def test_an_alias_that_somebody_else_moved_is_left_alone(bench: Bench) -> None:
    model = CreateRegisteredModel(name="m")
    versions = [CreateModelVersion(name="m", source="s3://b/x") for _ in range(3)]
    bench.append(model, *versions)
    bench.steps()
    bench.mock.store.apply(SetAlias(name="m", alias="production", version="1"))
    bench.append(SetAlias(name="m", alias="production", version="2", expected="1"))
    bench.mock.store.apply(SetAlias(name="m", alias="production", version="3"))
    bench.steps()
    (dead,) = bench.entries("dead")
    assert "3" in dead.error
    assert "pointed to 1" in dead.error
    bench.append(SetAlias(name="m", alias="production", version="2", force=True))
    bench.steps()
    assert bench.mock.store.get_registered_model("m").aliases == {"production": "2"}


def test_an_id_of_another_journal_is_found_on_the_primary(bench: Bench) -> None:
    elsewhere = CreateRun(experiment_id="1", run_name="r", start_time=1)
    bench.append(CreateExperiment(name="e"))
    bench.steps()
    bench.append(batch(elsewhere, tags={"a": "b"}))
    held = bench.steps()
    assert any("waiting for id/" in step.error for step in held)
    bench.mock.store.apply(elsewhere)
    bench.steps(10)
    assert bench.entries() == []
    assert bench.mock.store.runs()[0].data.tags["a"] == "b"


def test_a_long_outage_does_not_delay_the_first_attempt_after_it(bench: Bench) -> None:
    bench.begin()
    bench.mock.down()
    for _ in range(200):
        bench.steps(1.5)
    bench.mock.up()
    bench.steps(1.5)
    bench.steps(1.5)
    assert bench.entries() == []


def test_a_probe_of_another_thread_holds_nothing_up_when_it_is_over(bench: Bench) -> None:
    bench.begin()
    circuit = bench.circuits.primary
    permit = circuit.admit()
    assert permit is not None
    circuit.failed(permit)
    bench.clock.advance(2)
    taken = []

    def claim(request: ClaimRequest) -> tuple[Claim, ...]:
        """Another thread takes the probe between the worker's look and its claim."""
        if not taken:
            taken.append(circuit.admit())
        return journal_claim(request)

    journal = bench.worker._journal
    journal_claim = journal.journal_claim
    journal.journal_claim = claim  # type: ignore[method-assign]
    assert bench.worker.run_once().kind == "held"
    assert taken[0] is not None
    circuit.succeeded(taken[0])
    bench.steps(1.1)
    assert bench.entries() == []


def test_nothing_is_sent_while_the_circuit_is_open(bench: Bench) -> None:
    bench.begin()
    bench.mock.down()
    bench.steps()
    calls = len(bench.mock.calls)
    for _ in range(20):
        bench.steps()
    assert len(bench.mock.calls) == calls


def test_a_lost_lease_changes_nothing(bench: Bench) -> None:
    bench.begin()
    bench.steps()
    tag = LogBatch(run_id="0" * 32, tags={"a": "b"})
    bench.append(tag)

    def expire(*_: object) -> None:
        """While the request is under way, the lease ends and another worker takes the stream."""
        bench.clock.advance(1000)
        (claim,) = bench.journal.journal_claim(_request(bench))
        assert claim.operations[0].op_id == tag.op_id

    original = bench.primary.write

    def slow(*arguments: object, **keywords: object) -> object:
        expire()
        return original(*arguments, **keywords)  # type: ignore[arg-type]

    bench.primary.write = slow  # type: ignore[method-assign, assignment]
    step = bench.worker.run_once()
    assert step.kind == "held"
    assert [entry.op_id for entry in bench.entries()] == [tag.op_id]


def _request(bench: Bench) -> ClaimRequest:
    return ClaimRequest(destination=bench.mock.destination, worker="other")
