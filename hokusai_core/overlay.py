"""Lays operations that wait in a journal over what the primary said, so that writes are read back.

Pure functions over values: each replays the operations on a
:class:`~hokusai_core.memory.MemoryStore` that keeps provisional ids. What the primary would refuse
(a param with another value) is left out, as it will be on delivery. Operations are given in the
order of the journal.
"""

from collections.abc import Iterable, Sequence

from hokusai_core.entities import FileInfo, Metric, ModelVersion, RegisteredModel, Run, Source
from hokusai_core.errors import PermanentError
from hokusai_core.identifiers import OP_ID_TAG, creation_of, is_provisional
from hokusai_core.memory import MemoryStore
from hokusai_core.memory_listings import folder_listing
from hokusai_core.memory_metrics import in_order
from hokusai_core.memory_tracking import select_runs
from hokusai_core.operations import (
    AliasOperation,
    CreateModelVersion,
    CreateRun,
    LogArtifact,
    LogBatch,
    Operation,
    RegistryOperation,
    RunOperation,
    SetRegisteredModelTags,
    UpdateRun,
    VersionOperation,
)
from hokusai_core.queries import RunQuery


def overlay_run(base: Run | None, operations: Sequence[Operation], ids: frozenset[str]) -> Run:
    """Lay waiting operations of one run over what the primary said of it.

    Args:
        base: The primary's answer; None where it gave none.
        operations: What waits; operations of other runs are passed over.
        ids: Every id of the run, the primary's and the provisional one.

    Returns:
        The run under the base's id, or else under its creation's provisional id, or else under one
        of ``ids``. Without a base and a waiting creation it is a stub with ``complete`` False.

    """
    own = [operation for operation in operations if _writes_to_run(operation, ids)]
    run_id = base.info.run_id if base else _name_of_waiting(own, ids)
    store = MemoryStore(preserve_ids=True)
    if base is not None:
        store.seed_run(base)
    names = dict.fromkeys(ids, run_id)
    for operation in own:
        if isinstance(operation, CreateRun):
            if base is None:
                _replay(store, operation)
        elif isinstance(operation, LogBatch | UpdateRun):
            _replay(store, operation.renamed(names))
    if run_id not in {run.info.run_id for run in store.runs()}:
        store.apply(LogBatch(run_id=run_id))
    run = store.get_run(run_id)
    return run.model_copy(
        update={
            "source": ("merged" if own else "primary") if base else "fallback",
            "sync_state": "pending" if own else run.sync_state,
        }
    )


def waiting_runs(operations: Sequence[Operation]) -> tuple[Run, ...]:
    """Give the runs whose creation is among the operations, with all that waits for them."""
    own: dict[str, list[Operation]] = {}
    for operation in operations:
        if isinstance(operation, CreateRun):
            own.setdefault(_provisional(operation), []).append(operation)
        elif isinstance(operation, RunOperation) and operation.run_id in own:
            own[operation.run_id].append(operation)
    return tuple(overlay_run(None, each, frozenset({run_id})) for run_id, each in own.items())


def merge_metric_history(
    points: Sequence[Metric], operations: Sequence[Operation], key: str
) -> tuple[Metric, ...]:
    """Add the waiting points of one metric to those that the primary knows, each point once.

    The operations are those of one run. The result is in the order of a history: by timestamp,
    step and value.
    """
    waiting = (
        point
        for operation in operations
        if isinstance(operation, LogBatch)
        for point in operation.metrics
        if point.key == key
    )
    return in_order((*points, *waiting))


def overlay_artifacts(
    entries: Sequence[FileInfo], operations: Sequence[Operation], path: str = ""
) -> tuple[FileInfo, ...]:
    """Add waiting files to the primary's listing of the folder ``path`` ("" is the root).

    The operations are those of one owner. A waiting file shows in the place of the primary's.
    """
    files = (
        (operation.path, operation.size)
        for operation in operations
        if isinstance(operation, LogArtifact)
    )
    merged = {entry.path: entry for entry in entries}
    merged |= {entry.path: entry for entry in folder_listing(files, path)}
    return tuple(merged[name] for name in sorted(merged))


def overlay_version(
    base: ModelVersion | None, operations: Sequence[Operation], name: str, ids: frozenset[str]
) -> ModelVersion | None:
    """Lay waiting operations of one model version over what the primary said of it.

    Args:
        base: The primary's answer; None where it gave none.
        operations: What waits; operations of other models and versions are passed over.
        name: The registered model.
        ids: Every name of the version: its number and the provisional id.

    Moves of the model's aliases are laid over, too; one that concerns other versions does not make
    this one pending.

    Returns:
        The version under the base's number, or else under its provisional id, or else under one of
        ``ids``; None where it is deleted by what waits.

    """
    own = [operation for operation in operations if _writes_to_version(operation, name, ids)]
    version = base.version if base else _name_of_waiting(own, ids)
    store = MemoryStore(preserve_ids=True)
    store.seed_model_version(base or ModelVersion(name=name, version=version))
    names = dict.fromkeys(ids, version)
    for operation in own:
        if not isinstance(operation, CreateModelVersion):
            _replay(store, operation.renamed(names))
        elif base is None:
            _replay(store, operation)
    try:
        found = store.get_model_version(name, version)
    except PermanentError:
        return None
    laid_over = [operation for operation in own if not isinstance(operation, AliasOperation)]
    waits = bool(laid_over) or (base is not None and found.aliases != base.aliases)
    source: Source = ("merged" if waits else "primary") if base else "fallback"
    changes = {"source": source, "sync_state": "pending" if waits else found.sync_state}
    return found.model_copy(update=changes)


def overlay_registered_model(
    base: RegisteredModel | None, operations: Sequence[Operation], name: str
) -> RegisteredModel:
    """Lay waiting operations over what the primary said of a registered model: tags and aliases.

    An alias may name a provisional version. Without a base and a waiting creation it is a stub.
    """
    store = MemoryStore(preserve_ids=True)
    if base is not None:
        store.seed_registered_model(base)
    for operation in operations:
        if isinstance(operation, RegistryOperation) and operation.name == name:
            _replay(store, operation)
    if base is None:
        store.apply(SetRegisteredModelTags(name=name, tags={}))
    return store.get_registered_model(name)


def merge_runs(found: Iterable[Run], waiting: Iterable[Run], query: RunQuery) -> tuple[Run, ...]:
    """Merge the primary's runs with runs that have something waiting, as one search result.

    Each run is there once, also where it is known by its provisional id on one side and carries
    its creation's ``op_id`` on the other; what waits is the newer knowledge. Filter, order and the
    limit of one page apply after merging.

    Args:
        found: What the primary answered; overlaid runs of it count as waiting.
        waiting: Runs as :func:`overlay_run` gives them.
        query: The search; its ``experiment_ids`` hold the provisional ids of the experiments, too,
            where runs of them may wait.

    """
    merged: dict[str, Run] = {_identity(run): run for run in found}
    for run in waiting:
        identity = _identity(run)
        known = merged.get(identity)
        if known is not None and known.info.run_id != run.info.run_id:
            merged[identity] = _under_primary_id(run, known)
        else:
            merged[identity] = run
    return select_runs(merged.values(), query)[: query.max_results]


def _under_primary_id(run: Run, known: Run) -> Run:
    primary, provisional = (
        (known.info, run.info) if is_provisional(run.info.run_id) else (run.info, known.info)
    )
    info = run.info.model_copy(
        update={
            "run_id": primary.run_id,
            "experiment_id": primary.experiment_id or provisional.experiment_id,
            "artifact_uri": primary.artifact_uri,
        }
    )
    return run.model_copy(update={"info": info, "source": "merged"})


def _identity(run: Run) -> str:
    tagged = run.data.tags.get(OP_ID_TAG)
    if tagged:
        return tagged
    creation = creation_of(run.info.run_id)
    return creation[1] if creation else run.info.run_id


def _writes_to_run(operation: Operation, ids: frozenset[str]) -> bool:
    if isinstance(operation, CreateRun):
        return operation.provisional_id in ids
    return isinstance(operation, RunOperation) and operation.run_id in ids


def _writes_to_version(operation: Operation, name: str, ids: frozenset[str]) -> bool:
    if not isinstance(operation, RegistryOperation) or operation.name != name:
        return False
    if isinstance(operation, CreateModelVersion):
        return operation.provisional_id in ids
    if isinstance(operation, VersionOperation):
        return operation.version in ids
    return isinstance(operation, AliasOperation)


def _name_of_waiting(own: Sequence[Operation], ids: frozenset[str]) -> str:
    for operation in own:
        if isinstance(operation, CreateRun | CreateModelVersion):
            return _provisional(operation)
    return min(ids, key=lambda identifier: (not is_provisional(identifier), identifier))


def _provisional(operation: CreateRun | CreateModelVersion) -> str:
    identifier = operation.provisional_id
    if identifier is None:
        raise TypeError(f"{operation.kind} makes no id.")
    return identifier


def _replay(store: MemoryStore, operation: Operation) -> None:
    try:
        store.apply(operation)
    except PermanentError:
        return
