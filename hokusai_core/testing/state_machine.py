"""The sync protocol as a state machine for Hypothesis, over any journal.

Processes write, the primary and the journal fail, workers are killed and paused, time passes, in any
order that Hypothesis can think of. In the end everything comes up again and is drained; then the
primary must hold what the ledger says: nothing lost, nothing twice, the last write of each process
in force. To run it over a journal of your own::

    class MyMachine(SyncMachine):
        open_place = staticmethod(MyPlace)

    TestMyJournal = MyMachine.TestCase
"""

from dataclasses import replace
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple, precondition, rule

from hokusai_core.errors import RejectedError
from hokusai_core.operations import (
    PARENT_RUN_TAG,
    AnyOperation,
    ArtifactOwner,
    CreateLoggedModel,
    CreateRun,
    FinalizeLoggedModel,
    LogBatch,
    MetricPoint,
    RunStatus,
    SetAlias,
    SetModelVersionTags,
    UpdateRun,
)
from hokusai_core.testing.ledger import LoggedRun, LoggedVersion, Register
from hokusai_core.testing.simulation import Interruption, Killed, Life
from hokusai_core.testing.sync_driver import LEASE_SECONDS, WINDOW_SECONDS, SyncDriver

_CIRCUIT_SECONDS = 16.0
_PROCESSES = st.integers(0, 1)

_WORKER_POINTS = (
    "before journal_claim",
    "after journal_claim",
    "before send",
    "after send",
    "before journal_settle",
    "after journal_settle",
    "before journal_release",
    "after journal_release",
)
_FORWARDER_POINTS = (
    "before journal_append",
    "after journal_append",
    "after journal_claim",
    "before journal_settle",
    "after journal_settle",
)
_WRITER_POINTS = ("after send", "before journal_append", "after journal_append")
_REFUSABLE = ("create_run", "log_batch", "update_run", "log_artifact", "create_model_version")

Failure = Literal["down", "refuse", "lost answer", "lost request", "late"]


class SyncMachine(SyncDriver):
    """Two processes, the first with a spool, over one journal and one primary."""

    runs: Bundle[LoggedRun] = Bundle("runs")
    versions: Bundle[LoggedVersion] = Bundle("versions")

    # What users do

    @initialize(target=runs, process=_PROCESSES, down=st.booleans())
    def start_first_run(self, process: int, down: bool) -> Any:
        """Begin with a run, some in an outage."""
        self.primary_is(down)
        return self.start_run(process, None, tagged=True)

    @rule(target=runs, process=_PROCESSES, parent=st.none() | runs, tagged=st.booleans())
    def start_run(self, process: int, parent: LoggedRun | None, tagged: bool) -> Any:
        """Create a run, some with a parent."""
        writer = self._writer(process, parent) if parent else self.processes[process]
        experiment_id = self._experiment(writer)
        if experiment_id is None:
            return multiple()
        tags = {"stage": f"{self.world.number()}"} if tagged else {}
        creation = CreateRun(
            op_id=self.world.op_id(),
            experiment_id=experiment_id,
            run_name="run",
            start_time=self.world.number(),
            tags=tags | ({PARENT_RUN_TAG: parent.identifier} if parent else {}),
        )
        outcome = self._write(writer, creation)
        if not outcome.certain:
            return multiple()
        run = LoggedRun(creation, writer.name, outcome.identifier, parent)
        for key, value in tags.items():
            run.tags[key] = Register([replace(outcome.write, value=value)])
        self.ledger.runs.append(run)
        self._read_back(writer, run)
        return run

    @rule(
        process=_PROCESSES,
        run=runs,
        other_id=st.booleans(),
        metrics=st.integers(0, 2),
        params=st.integers(0, 1),
        tag=st.sampled_from(["", "stage", "owner"]),
    )
    def log(
        self, process: int, run: LoggedRun, other_id: bool, metrics: int, params: int, tag: str
    ) -> None:
        """Log metrics, params and a tag in one batch, under either id of the run."""
        number = self.world.number()
        batch = LogBatch(
            op_id=self.world.op_id(),
            run_id=self._name_of(run, other=other_id),
            metrics=tuple(
                MetricPoint(key="loss", value=float(number), timestamp=number, step=step)
                for step in range(metrics)
            ),
            params={f"param {number}": str(number)} if params else {},
            tags={tag: str(number)} if tag else {},
        )
        self._log(self._writer(process, run), run, batch)

    @rule(process=_PROCESSES, run=runs, point=st.sampled_from(_WRITER_POINTS))
    def is_killed_while_logging(self, process: int, run: LoggedRun, point: str) -> None:
        """Kill a process inside a call; the next one begins with what is stored."""
        writer = self._writer(process, run)
        self.world.interruption = Interruption(point, 0, _kill)
        number = self.world.number()
        batch = LogBatch(
            op_id=self.world.op_id(), run_id=run.identifier, tags={"stage": str(number)}
        )
        self._log(writer, run, batch)
        self.world.interruption = None

    @rule(
        process=_PROCESSES,
        run=runs,
        other_id=st.booleans(),
        status=st.sampled_from(["FINISHED", "FAILED"]),
    )
    def end_run(self, process: int, run: LoggedRun, other_id: bool, status: RunStatus) -> None:
        """Set a final status and the end time."""
        writer = self._writer(process, run)
        end = UpdateRun(
            op_id=self.world.op_id(),
            run_id=self._name_of(run, other=other_id),
            status=status,
            end_time=self.world.number(),
        )
        self._note(run.status, writer, end, (status, end.end_time))

    @rule(process=_PROCESSES, run=runs, path=st.sampled_from(["a.txt", "folder/b.txt"]))
    def log_file(self, process: int, run: LoggedRun, path: str) -> None:
        """Log a file, over what is there."""
        self._log_file(self._writer(process, run), run, path)

    @rule(target=versions, process=_PROCESSES, run=runs)
    def register_files(self, process: int, run: LoggedRun) -> Any:
        """Register a version from a run's files."""
        writer = self._writer(process, run)
        if not self._log_file(writer, run, "files/data.bin").certain:
            return multiple()
        return self._register(writer, run, None, f"runs:/{run.identifier}/files", None)

    @rule(target=versions, process=_PROCESSES, run=runs)
    def register_logged_model(self, process: int, run: LoggedRun) -> Any:
        """Log a model and register a version of it."""
        writer = self._writer(process, run)
        experiment_id = self._experiment(writer)
        if experiment_id is None:
            return multiple()
        creation = CreateLoggedModel(
            op_id=self.world.op_id(),
            run_id=run.identifier,
            experiment_id=experiment_id,
            name="model",
        )
        outcome = self._write(writer, creation)
        if not outcome.certain:
            return multiple()
        owner = ArtifactOwner(kind="model", id=outcome.identifier)
        file, content = self._artifact(run.identifier, owner, "data.bin")
        finalize = FinalizeLoggedModel(
            op_id=self.world.op_id(), run_id=run.identifier, model_id=outcome.identifier
        )
        if not self._write(writer, file, content).certain:
            return multiple()
        if not self._write(writer, finalize).certain:
            return multiple()
        self.ledger.models[creation.op_id] = run
        source = f"models:/{outcome.identifier}"
        return self._register(writer, run, creation, source, outcome.identifier)

    @rule(process=_PROCESSES, version=versions)
    def tag_version(self, process: int, version: LoggedVersion) -> None:
        """Set a tag of a version."""
        writer = self._writer(process, version)
        value = str(self.world.number())
        operation = SetModelVersionTags(
            op_id=self.world.op_id(),
            name=self.model_name,
            version=version.identifier,
            tags={"stage": value},
        )
        self._note(version.tags.setdefault("stage", Register()), writer, operation, value)

    @rule(process=_PROCESSES, version=versions)
    def move_alias(self, process: int, version: LoggedVersion) -> None:
        """Let the alias point to a version."""
        writer = self._writer(process, version)
        operation = SetAlias(
            op_id=self.world.op_id(),
            name=self.model_name,
            alias="best",
            version=version.identifier,
            force=True,
        )
        register = self.ledger.aliases.setdefault((self.model_name, "best"), Register())
        self._note(register, writer, operation, version.creation.op_id)

    @rule(
        process=_PROCESSES,
        run=runs,
        failure=st.sampled_from(["down", "lost answer", "lost request", "late"]),
        other_id=st.booleans(),
        afterwards=st.booleans(),
    )
    def write_around_an_outage(
        self, process: int, run: LoggedRun, failure: Failure, other_id: bool, afterwards: bool
    ) -> None:
        """Write one tag again and again while the primary goes away and comes back."""
        if failure == "down":
            self.world.primary.down()
        else:
            self.next_writes_fail(failure, 1)
        self.log(process, run, other_id, 0, 0, "stage")
        self.end_run(process, run, other_id, "FINISHED")
        self.log(process, run, False, 0, 0, "stage")
        self.world.primary.up()
        self.world.clock.advance(_CIRCUIT_SECONDS)
        if afterwards:
            self.log(process, run, other_id, 0, 0, "stage")

    # What goes wrong

    @rule(down=st.booleans())
    def primary_is(self, down: bool) -> None:
        """Refuse every call, or answer again."""
        if down:
            self.world.primary.down()
        else:
            self.world.primary.up()

    @rule(
        failure=st.sampled_from(["refuse", "lost answer", "lost request", "late"]),
        count=st.integers(1, 2),
    )
    def next_writes_fail(self, failure: Failure, count: int) -> None:
        """Let the next writes fail in one of the ways in which requests fail."""
        if failure == "refuse":
            self.world.primary.refuse(count)
        elif failure == "lost answer":
            self.world.primary.time_out_after_applying(count)
        elif failure == "lost request":
            self.world.primary.time_out_before_applying(count)
        else:
            self.world.delays = count

    @rule()
    def late_effects_land(self) -> None:
        """Carry out what was delayed."""
        self.world.land_late_effects()

    @rule(kind=st.sampled_from(_REFUSABLE))
    def primary_refuses(self, kind: str) -> None:
        """Refuse a kind of operation for good."""
        self.world.primary.reject(kind, RejectedError(f"{kind} is refused."))
        self.rejected.add(kind)

    @precondition(lambda self: self.rejected)
    @rule()
    def primary_accepts_again(self) -> None:
        """Take everything again, and send the dead letters once more."""
        self._accept_all()
        self._retry_dead()

    @rule(down=st.booleans())
    def journal_is(self, down: bool) -> None:
        """Let nobody reach the journal, or everybody again."""
        self.world.journal_down = down

    @rule(
        hook=st.sampled_from(
            ["journal_append", "journal_claim", "journal_settle", "journal_release"]
        )
    )
    def journal_loses_an_answer(self, hook: str) -> None:
        """Let the next change of this kind be made, and its answer be lost."""
        self.world.answers_to_lose.append(hook)

    @rule(process=_PROCESSES)
    def restarts(self, process: int) -> None:
        """End a process between two calls, and begin it anew."""
        writer = self.processes[process]
        writer.restart()
        self.experiment_ids.pop(writer.name, None)

    @rule(seconds=st.sampled_from([0.5, 5.0, LEASE_SECONDS + 1, WINDOW_SECONDS + 1]))
    def time_passes(self, seconds: float) -> None:
        """Let circuits, leases and windows go on."""
        self.world.clock.advance(seconds)

    # What workers do

    @rule(process=_PROCESSES, steps=st.integers(1, 4))
    def work(self, process: int, steps: int) -> None:
        """Let a worker deliver some streams."""
        for _ in range(steps):
            self._step(self.processes[process])

    @rule(process=_PROCESSES)
    def forward(self, process: int) -> None:
        """Move a spool into the journal."""
        self._forward(self.processes[process])

    @rule(process=_PROCESSES, point=st.sampled_from(_WORKER_POINTS), skip=st.integers(0, 2))
    def worker_is_killed(self, process: int, point: str, skip: int) -> None:
        """Kill a worker at a point of the protocol."""
        self.world.interruption = Interruption(point, skip, _kill)
        self._step(self.processes[process])
        self.world.interruption = None

    @rule(point=st.sampled_from(_FORWARDER_POINTS), skip=st.integers(0, 2))
    def forwarder_is_killed(self, point: str, skip: int) -> None:
        """Kill a forwarder at a point of its work."""
        self.world.interruption = Interruption(point, skip, _kill)
        self._forward(self.processes[0])
        self.world.interruption = None

    @rule(
        process=_PROCESSES,
        point=st.sampled_from(_WORKER_POINTS),
        skip=st.integers(0, 2),
        long=st.booleans(),
        writer=_PROCESSES,
        run=runs,
        steps=st.integers(1, 3),
    )
    def worker_is_paused(
        self,
        process: int,
        point: str,
        skip: int,
        long: bool,
        writer: int,
        run: LoggedRun,
        steps: int,
    ) -> None:
        """Pause a worker past its lease; meanwhile another works, and a process writes."""

        def meanwhile(_life: Life, _operation: AnyOperation | None) -> None:
            pause = LEASE_SECONDS + 1
            if long and point != "before send":
                pause += WINDOW_SECONDS
            other = self.processes[1 - process]
            self.world.clock.advance(pause)
            for _ in range(steps):
                self._step(other)
            self.log(writer, run, False, 0, 0, "stage")
            for _ in range(steps):
                self._step(other)

        self.world.interruption = Interruption(point, skip, meanwhile)
        self._step(self.processes[process])
        self.world.interruption = None


def _kill(life: Life, _operation: AnyOperation | None) -> None:
    life.ended = True
    raise Killed
