"""What a correct primary must hold in the end, as plain dicts, and the comparison with a real one."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.memory import MemoryStore
from hokusai_core.operations import (
    PARENT_RUN_TAG,
    ArtifactOwner,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRun,
    MetricPoint,
)
from hokusai_core.queries import VersionQuery

MISSING = None
"""What a key holds that nobody wrote."""


@dataclass(frozen=True)
class Write:
    """One value that a process wrote under a key.

    ``certain`` is False where the call did not return: the value may be stored or not. ``late_until``
    is then the time up to which its request, which no journal took, may take effect; 0 where none is
    under way. ``at`` is the time of the write, ``direct`` whether the primary took it in the call,
    ``life`` how often the process had begun.
    """

    process: str
    op_id: str
    value: object
    certain: bool = True
    at: float = 0.0
    direct: bool = False
    life: int = 0
    late_until: float = 0.0

    def may_undo(self, later: "Write") -> bool:
        """Whether its late effect may come over a later write of the same process.

        It may where that was sent directly, for want of a journal, or by a process that had begun
        anew and did not know of this one; else that one waited.
        """
        return later.at < self.late_until and (later.direct or later.life != self.life)


@dataclass
class Register:
    """A key of which the last writer decides: all that was written, in order."""

    writes: list[Write] = field(default_factory=list)

    def acceptable(self, refused: set[str]) -> set[object]:
        """Give the values that may be there in the end.

        Of each process its last write, or one that raised while its request was under way and that no
        later one waited for. Between processes there is no order, and none between a dead letter that
        was sent again and what came after it.
        """
        allowed: set[object] = set()
        processes = {write.process for write in self.writes}
        decided = False
        for process in processes:
            own = [write for write in self.writes if write.process == process]
            allowed |= {write.value for write in own if write.op_id in refused}
            later: list[Write] = []
            for write in reversed(own):
                if all(write.may_undo(one) for one in later):
                    allowed.add(write.value)
                if write.certain and write.op_id not in refused:
                    decided = True
                    later.append(write)
        if not decided and not any(write.certain for write in self.writes):
            allowed.add(MISSING)
        return allowed


@dataclass
class LoggedRun:
    """A run as its processes wrote it.

    ``identifier`` is what the creation returned: a provisional id, or the primary's.
    """

    creation: CreateRun
    creator: str
    identifier: str
    parent: "LoggedRun | None" = None
    points: dict[MetricPoint, Write] = field(default_factory=dict)
    params: dict[str, Write] = field(default_factory=dict)
    tags: dict[str, Register] = field(default_factory=dict)
    files: dict[str, Register] = field(default_factory=dict)
    status: Register = field(default_factory=Register)

    @property
    def op_id(self) -> str:
        """The id of the creation."""
        return self.creation.op_id


@dataclass
class LoggedVersion:
    """A version of a registered model, and what it came from."""

    creation: CreateModelVersion
    identifier: str
    run: LoggedRun
    model: CreateLoggedModel | None
    tags: dict[str, Register] = field(default_factory=dict)


@dataclass
class Ledger:
    """All that was written."""

    experiment: str
    experiments: bool = False
    runs: list[LoggedRun] = field(default_factory=list)
    versions: list[LoggedVersion] = field(default_factory=list)
    models: dict[str, LoggedRun] = field(default_factory=dict)
    """Logged models by the ``op_id`` of their creation."""
    maybe: set[str] = field(default_factory=set)
    """The ``op_id`` of creations whose call did not return."""
    aliases: dict[tuple[str, str], Register] = field(default_factory=dict)
    """By registered model and alias, the ``op_id`` of the version."""

    def differences(self, store: MemoryStore, refused: set[str]) -> list[str]:
        """Compare with what the primary holds; [] where nothing is lost, nothing twice.

        Args:
            store: The primary's records.
            refused: What was a dead letter at some time; its order is not kept.
        """
        found = Counter(run.data.tags.get(OP_ID_TAG, "") for run in store.runs())
        problems = list(self._counted("run", found, [run.op_id for run in self.runs]))
        if self.experiments and len(store.find_experiments(self.experiment)) != 1:
            problems.append("the experiment does not exist")
        for run in self.runs:
            if found[run.op_id] == 1:
                problems += self._differences_of_run(run, store, refused)
        problems += self._differences_of_models(store)
        problems += self._differences_of_versions(store, refused)
        problems += self._differences_of_aliases(store, refused)
        return problems

    def _counted(self, what: str, found: Counter[str], wanted: Iterable[str]) -> Iterable[str]:
        expected = set(wanted)
        for op_id in expected:
            if found[op_id] != 1:
                yield f"{what} {op_id} is there {found[op_id]} times"
        for op_id in found.keys() - expected:
            if op_id not in self.maybe or found[op_id] != 1:
                yield f"{what} {op_id} is there {found[op_id]} times, and nobody made it"

    def _differences_of_run(
        self, run: LoggedRun, store: MemoryStore, refused: set[str]
    ) -> Iterable[str]:
        name = f"run {run.op_id}"
        (stored,) = store.find_runs(run.op_id)
        run_id = stored.info.run_id
        tags = stored.data.tags
        keys = {point.key for point in run.points}
        points = {point for key in keys for point in store.metric_history(run_id, key)}
        for point, write in run.points.items():
            if write.certain and point not in points:
                yield f"{name} lacks the point {point}"
        for point in points - run.points.keys():
            yield f"{name} has a point that nobody logged: {point}"
        for key, write in run.params.items():
            value = stored.data.params.get(key, MISSING)
            if value != write.value and (write.certain or value is not MISSING):
                yield f"{name} has param {key} = {value!r}, not {write.value!r}"
        for key in stored.data.params.keys() - run.params.keys():
            yield f"{name} has a param that nobody logged: {key}"
        yield from _registers(f"{name} tag", run.tags, tags, refused)
        if run.parent is not None:
            parents = [each.info.run_id for each in store.find_runs(run.parent.op_id)]
            if tags.get(PARENT_RUN_TAG) not in parents:
                yield f"{name} has the parent {tags.get(PARENT_RUN_TAG)}, not one of {parents}"
        if run.status.writes:
            status = (stored.info.status, stored.info.end_time)
            allowed = run.status.acceptable(refused)
            if status not in allowed and not (None in allowed and status[1] is None):
                yield f"{name} has status {status}, not one of {allowed}"
        owner = ArtifactOwner(kind="run", id=run_id)
        files: dict[str, object] = {}
        for path in store.artifact_paths(owner):
            with store.open_artifact(owner, path) as stream:
                files[path] = stream.read()
        yield from _registers(f"{name} file", run.files, files, refused)
        for path in files.keys() - run.files.keys():
            yield f"{name} has a file that nobody logged: {path}"

    def _differences_of_models(self, store: MemoryStore) -> Iterable[str]:
        for op_id, run in self.models.items():
            models = store.find_logged_models(op_id)
            if len(models) != 1:
                yield f"logged model {op_id} is there {len(models)} times"
                continue
            (model,) = models
            runs = store.find_runs(run.op_id)
            if model.status != "READY" or model.source_run_id not in [r.info.run_id for r in runs]:
                yield f"logged model {op_id} is {model}"
            outputs = Counter(each for r in runs for each in store.run_outputs(r.info.run_id))
            if outputs[model.model_id] != 1:
                yield f"logged model {op_id} is {outputs[model.model_id]} times an output"
            if not store.artifact_paths(ArtifactOwner(kind="model", id=model.model_id)):
                yield f"logged model {op_id} has no files"

    def _differences_of_versions(self, store: MemoryStore, refused: set[str]) -> Iterable[str]:
        stored = store.search_versions(VersionQuery(max_results=10_000)).items
        found = Counter(version.tags.get(OP_ID_TAG, "") for version in stored)
        yield from self._counted("version", found, [each.creation.op_id for each in self.versions])
        for wanted in self.versions:
            creation = wanted.creation
            if found[creation.op_id] != 1:
                continue
            (version,) = store.find_versions(creation.op_id, creation.name)
            name = f"version {creation.op_id}"
            run_ids = [run.info.run_id for run in store.find_runs(wanted.run.op_id)]
            if version.run_id not in run_ids:
                yield f"{name} comes from run {version.run_id}, not from one of {run_ids}"
            if wanted.model:
                models = store.find_logged_models(wanted.model.op_id)
                sources = [f"models:/{model.model_id}" for model in models]
            else:
                sources = [f"runs:/{run_id}/files" for run_id in run_ids]
            if version.source_uri not in sources:
                yield f"{name} has the source {version.source_uri}, not one of {sources}"
            yield from _registers(f"{name} tag", wanted.tags, version.tags, refused)

    def _differences_of_aliases(self, store: MemoryStore, refused: set[str]) -> Iterable[str]:
        for (name, alias), register in self.aliases.items():
            model = store.get_registered_model(name)
            number = model.aliases.get(alias)
            op_id = store.get_model_version(name, number).tags.get(OP_ID_TAG) if number else MISSING
            if op_id not in register.acceptable(refused):
                yield f"alias {alias} of {name} points to {op_id}, not {register.writes}"


def _registers(
    what: str,
    wanted: Mapping[str, Register],
    stored: Mapping[str, object],
    refused: set[str],
) -> Iterable[str]:
    for key, register in wanted.items():
        allowed = register.acceptable(refused)
        if stored.get(key, MISSING) not in allowed:
            yield f"{what} {key} is {stored.get(key)!r}, not one of {allowed!r}"
