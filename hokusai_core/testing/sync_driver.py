"""What the rules of the state machine are made of, and how it ends."""

import hashlib
import io
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

from hypothesis.stateful import RuleBasedStateMachine, multiple

from hokusai_core.errors import (
    JournalUnavailableError,
    NotStoredError,
    PermanentError,
    TransientError,
)
from hokusai_core.journal import EntryQuery
from hokusai_core.operations import (
    AnyOperation,
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    LogArtifact,
    LogBatch,
)
from hokusai_core.settings import Delivery, Settings
from hokusai_core.testing.ledger import Ledger, LoggedRun, LoggedVersion, Register, Write
from hokusai_core.testing.simulation import (
    Killed,
    MemoryPlace,
    OpenPlace,
    SimulatedClock,
    SimulatedProcess,
    World,
)

LEASE_SECONDS = 30.0
WINDOW_SECONDS = 60.0
_DRAIN_ROUNDS = 10


@dataclass
class Outcome:
    """What a write came to: ``kept``, ``refused``, or ``unknown`` where the call did not return.

    ``write`` is how the ledger notes it, but for the value.
    """

    state: Literal["kept", "refused", "unknown"]
    write: Write
    identifier: str = ""

    @property
    def certain(self) -> bool:
        """Whether it is kept."""
        return self.state == "kept"


class SyncDriver(RuleBasedStateMachine):
    """Two processes, the first with a spool, over one journal and one primary, without rules."""

    open_place: ClassVar[OpenPlace] = MemoryPlace
    """Opens the journal under test; called for each example."""

    deliveries: ClassVar[tuple[Delivery, Delivery]] = ("direct", "direct")
    """How the two processes deliver."""

    def __init__(self) -> None:
        super().__init__()
        clock = SimulatedClock()
        settings = Settings.load(
            auto_sync=False, lease_seconds=LEASE_SECONDS, late_effect_seconds=WINDOW_SECONDS
        )
        self.world = World(type(self).open_place(clock), clock, settings)
        spool = MemoryPlace(clock).journal
        self.processes = [
            SimulatedProcess(self.world, "first", spool, self.deliveries[0]),
            SimulatedProcess(self.world, "second", None, self.deliveries[1]),
        ]
        self.ledger = Ledger(self.world.name("experiment"))
        self.model_name = self.world.name("model")
        self.experiment_ids: dict[str, str] = {}
        self.rejected: set[str] = set()

    # What must hold

    def _read_back(self, process: SimulatedProcess, run: LoggedRun) -> None:
        """A process reads what it wrote, wherever that is now."""
        if self.world.journal_down or not process.reaches_journal:
            return
        try:
            seen = process.runs.get_run(run.identifier)
            history = process.runs.metric_history(run.identifier, "loss")
        except TransientError:
            return
        if not seen.complete:
            return
        for key, register in run.tags.items():
            own = {write.process for write in register.writes} == {process.name}
            allowed = register.acceptable(self.world.refused)
            touched = any(write.op_id in self.world.refused for write in register.writes)
            if own and not touched:
                assert seen.data.tags.get(key) in allowed, f"tag {key} of {run} reads {seen}"
        for key, write in run.params.items():
            if self._has_to_see(process, write):
                assert seen.data.params.get(key) == write.value, f"param {key} of {run}: {seen}"
        for point, write in run.points.items():
            if self._has_to_see(process, write):
                assert point in history, f"{point} of {run} is not in {history}"

    def teardown(self) -> None:
        """Mend everything but refusals, drain, look at the dead letters; then send them and compare."""
        try:
            self.world.mend()
            for process in self.processes:
                process.restart()
            self._drain()
            dead = self._dead()
            unexplained = set(dead) - self.world.refused
            assert not unexplained, f"dead letters that nobody refused: {unexplained}"
            self._accept_all()
            self._retry_dead()
            self._drain()
            assert not self._dead()
            assert not self._waiting(), f"still waiting: {self._waiting()}"
            problems = self.ledger.differences(self.world.primary.store, self.world.refused)
            assert not problems, "\n".join(problems)
        finally:
            self.world.place.close()

    # How it is done

    def _write(
        self, writer: SimulatedProcess, operation: AnyOperation, content: bytes | None = None
    ) -> Outcome:
        opener = None if content is None else partial(io.BytesIO, content)
        write = Write(
            writer.name, operation.op_id, None, at=self.world.clock.now, life=writer.lives
        )
        try:
            result = writer.router.write(operation, opener)
        except NotStoredError:
            return self._unknown(operation, write)
        except Killed:
            writer.restart()
            self.experiment_ids.pop(writer.name, None)
            return self._unknown(operation, write)
        except PermanentError:
            if operation.kind not in self.rejected:
                raise
            return Outcome("refused", write)
        write = replace(write, direct=result.state == "delivered")
        return Outcome("kept", write, result.identifier)

    def _unknown(self, operation: AnyOperation, write: Write) -> Outcome:
        """Give the outcome of a call that did not return."""
        op_id = operation.op_id
        if operation.creates:
            self.ledger.maybe.add(op_id)
        late = op_id in self.world.sent_late and not any(
            place.journal_read(EntryQuery(op_ids=(op_id,))) for place in self._places()
        )
        until = self.world.clock.now + WINDOW_SECONDS if late else 0.0
        return Outcome("unknown", replace(write, certain=False, late_until=until))

    def _note(
        self,
        register: Register,
        writer: SimulatedProcess,
        operation: AnyOperation,
        value: object,
        content: bytes | None = None,
    ) -> Outcome:
        outcome = self._write(writer, operation, content)
        if outcome.state != "refused":
            register.writes.append(replace(outcome.write, value=value))
        return outcome

    def _experiment(self, writer: SimulatedProcess) -> str | None:
        if writer.name not in self.experiment_ids:
            creation = CreateExperiment(op_id=self.world.op_id(), name=self.ledger.experiment)
            outcome = self._write(writer, creation)
            if not outcome.certain:
                return None
            self.ledger.experiments = True
            self.experiment_ids[writer.name] = outcome.identifier
        return self.experiment_ids[writer.name]

    def _log(self, writer: SimulatedProcess, run: LoggedRun, batch: LogBatch) -> None:
        outcome = self._write(writer, batch)
        if outcome.state == "refused":
            return
        for key, value in batch.tags.items():
            write = replace(outcome.write, value=value)
            run.tags.setdefault(key, Register()).writes.append(write)
        for key, value in batch.params.items():
            run.params[key] = replace(outcome.write, value=value)
        for point in batch.metrics:
            run.points[point] = outcome.write
        self._read_back(writer, run)

    def _log_file(self, writer: SimulatedProcess, run: LoggedRun, path: str) -> Outcome:
        owner = ArtifactOwner(kind="run", id=run.identifier)
        operation, content = self._artifact(run.identifier, owner, path)
        register = run.files.setdefault(path, Register())
        return self._note(register, writer, operation, content, content)

    def _artifact(self, run_id: str, owner: ArtifactOwner, path: str) -> tuple[LogArtifact, bytes]:
        content = f"content {self.world.number()}".encode()
        operation = LogArtifact(
            op_id=self.world.op_id(),
            run_id=run_id,
            owner=owner,
            path=path,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        return operation, content

    def _register(
        self,
        writer: SimulatedProcess,
        run: LoggedRun,
        model: CreateLoggedModel | None,
        source: str,
        model_id: str | None,
    ) -> Any:
        registered = CreateRegisteredModel(op_id=self.world.op_id(), name=self.model_name)
        if not self._write(writer, registered).certain:
            return multiple()
        creation = CreateModelVersion(
            op_id=self.world.op_id(),
            name=self.model_name,
            source=source,
            run_id=run.identifier,
            model_id=model_id,
        )
        outcome = self._write(writer, creation)
        if not outcome.certain:
            return multiple()
        version = LoggedVersion(creation, outcome.identifier, run, model)
        self.ledger.versions.append(version)
        return version

    def _name_of(self, run: LoggedRun, *, other: bool) -> str:
        """Give an id of the run: what its creation returned, or the primary's where it is known."""
        provisional = run.creation.provisional_id
        if not other or provisional != run.identifier:
            return run.identifier
        known = self.world.place.journal.journal_resolve((run.identifier,))
        return known.get(run.identifier, run.identifier)

    def _writer(self, process: int, made: LoggedRun | LoggedVersion) -> SimulatedProcess:
        """Give the process; where what was made is still hidden on the first one's spool, the first.

        A process that names what only another one's spool knows can hold it back for ever: the
        creation would come to the journal behind it.
        """
        op_id = made.creation.op_id
        in_sight = EntryQuery(op_ids=(op_id,), states=("waiting", "delivered", "dead"))
        if not made.identifier.endswith(op_id) or self.world.place.journal.journal_read(in_sight):
            return self.processes[process]
        return self.processes[0]

    def _has_to_see(self, process: SimulatedProcess, write: Write) -> bool:
        return (
            write.process == process.name
            and write.certain
            and write.op_id not in self.world.refused
        )

    def _step(self, process: SimulatedProcess) -> bool:
        """Let a worker do one step; whether it found anything to do."""
        try:
            step = process.worker.run_once()
        except Killed:
            process.renew_worker()
            return True
        except JournalUnavailableError:
            return False
        return step.kind == "progress"

    def _forward(self, process: SimulatedProcess) -> None:
        try:
            process.forward()
        except Killed:
            process.renew_worker()
        except JournalUnavailableError:
            return

    def _drain(self) -> None:
        """Deliver until nothing is left, or nothing goes on however much time passes."""
        idle = 0
        while self._waiting() and idle < _DRAIN_ROUNDS:
            for process in self.processes:
                self._forward(process)
            moved = [self._step(process) for process in self.processes]
            if any(moved):
                idle = 0
            else:
                idle += 1
                self.world.clock.advance(WINDOW_SECONDS + 1)

    def _places(self) -> list[Any]:
        return [self.world.place.journal, self.processes[0].spool]

    def _waiting(self) -> list[str]:
        query = EntryQuery(destination=self.world.destination)
        return [
            f"{entry.kind} {entry.op_id} of {entry.stream}: {entry.waiting_for} {entry.error}"
            for place in self._places()
            for entry in place.journal_read(query)
        ]

    def _dead(self) -> tuple[str, ...]:
        query = EntryQuery(destination=self.world.destination, states=("dead",))
        return tuple(entry.op_id for entry in self.world.place.journal.journal_read(query))

    def _accept_all(self) -> None:
        for kind in self.rejected:
            self.world.primary.accept(kind)
        self.rejected.clear()

    def _retry_dead(self) -> None:
        self.world.place.journal.journal_retry(self._dead())
