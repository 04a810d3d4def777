"""Which retried operations must not be sent any more, because a later one has decided.

An operation that was dead goes back to its old place in its stream, while later operations of the
stream may be delivered already. What only the last writer decides (a tag, a status, an alias, a
file) must then not be written over. The worker asks under its claim, so nothing of the stream can be
delivered meanwhile.
"""

from collections.abc import Callable

from hokusai_core.journal import Claim, EntryQuery, QueuedOperation
from hokusai_core.operations import (
    RUN_NAME_TAG,
    AliasOperation,
    AnyOperation,
    LogArtifact,
    LogBatch,
    SetModelVersionTags,
    SetRegisteredModelTags,
    UpdateRun,
)

ReadEntries = Callable[[EntryQuery], tuple[QueuedOperation, ...]]

_PAGE = 500
"""Entries of a page: few enough that one is read, with the longest batches, well within a lease."""

_KINDS = (
    "log_batch",
    "update_run",
    "log_artifact",
    "set_model_version_tags",
    "set_registered_model_tags",
    "set_alias",
    "delete_alias",
)


def without_superseded(
    claim: Claim, read: ReadEntries, before_read: Callable[[], None]
) -> tuple[tuple[QueuedOperation, ...], tuple[str, ...]]:
    """Take out of a claim what later delivered operations have decided.

    Args:
        claim: What was claimed; the lease runs.
        read: The journal's hook ``journal_read``.
        before_read: Called before each page is read; keeps the lease.

    Returns:
        What is left to send, in order: an operation that sets several things is left with those
        that nobody decided since. And the ``op_id`` of those of which nothing is left.

    Raises:
        JournalUnavailableError: The journal cannot be reached.
        LeaseLostError: The claim is over.
    """
    names = {
        entry.op_id: decided_by(entry.operation)
        for entry in claim.operations
        if entry.retried_at is not None and entry.operation is not None
    }
    retried = [entry for entry in claim.operations if names.get(entry.op_id)]
    last = _last_decisions(
        claim, {entry.sequence: names[entry.op_id] for entry in retried}, read, before_read
    )
    left: list[QueuedOperation] = []
    superseded: list[str] = []
    for entry in claim.operations:
        gone = {name for name in names.get(entry.op_id, ()) if last.get(name, 0) > entry.sequence}
        if not gone or entry.operation is None:
            left.append(entry)
            continue
        reduced = _without(entry.operation, gone)
        if reduced is None:
            superseded.append(entry.op_id)
        else:
            left.append(entry._replace(stored=reduced))
    return tuple(left), tuple(superseded)


def decided_by(operation: AnyOperation) -> frozenset[str]:
    """Give the names, within its stream, of what an operation sets and the last writer decides."""
    if isinstance(operation, LogBatch | SetModelVersionTags | SetRegisteredModelTags):
        return frozenset(f"tag/{key}" for key in operation.tags)
    if isinstance(operation, UpdateRun):
        fields = {
            "status": operation.status,
            "end_time": operation.end_time,
            f"tag/{RUN_NAME_TAG}": operation.run_name,
        }
        return frozenset(name for name, value in fields.items() if value is not None)
    if isinstance(operation, AliasOperation):
        return frozenset({f"alias/{operation.alias}"})
    if isinstance(operation, LogArtifact):
        return frozenset({f"file/{operation.owner.kind}/{operation.owner.id}/{operation.path}"})
    return frozenset()


def _without(operation: AnyOperation, gone: set[str]) -> AnyOperation | None:
    """Give an operation without what others decided; None where nothing is left of it."""
    left = set(decided_by(operation) - gone)
    if isinstance(operation, LogBatch):
        tags = _tags_in(operation.tags, left)
        if not tags and not operation.metrics and not operation.params:
            return None
        return operation.model_copy(update={"tags": tags})
    if not left:
        return None
    if isinstance(operation, SetModelVersionTags | SetRegisteredModelTags):
        return operation.model_copy(update={"tags": _tags_in(operation.tags, left)})
    if isinstance(operation, UpdateRun):
        names = {"status": "status", "end_time": "end_time", "run_name": f"tag/{RUN_NAME_TAG}"}
        emptied = {field: None for field, name in names.items() if name not in left}
        return operation.model_copy(update=emptied)
    return operation


def _tags_in(tags: dict[str, str], names: set[str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if f"tag/{key}" in names}


def _last_decisions(
    claim: Claim,
    wanted: dict[int, frozenset[str]],
    read: ReadEntries,
    before_read: Callable[[], None],
) -> dict[str, int]:
    """Find by which later operations that the primary has the names were decided.

    Args:
        claim: Names the stream.
        wanted: What each retried operation decides, by its sequence number.
        read: The journal's hook ``journal_read``.
        before_read: Called before each page is read.

    Returns:
        For each name that was decided later than by the first of them, the number of an operation
        that did so: the last one, or one that came after all who ask.
    """
    open_names = {name: sequence for sequence in sorted(wanted) for name in wanted[sequence]}
    found: dict[str, int] = {}
    after = min(wanted, default=0)
    while open_names:
        before_read()
        page = read(
            EntryQuery(
                destination=claim.destination,
                streams=(claim.stream,),
                kinds=_KINDS,
                states=("delivered",),
                after=after,
                limit=_PAGE,
            )
        )
        if not page:
            break
        after = page[-1].sequence
        for later in page:
            for name in decided_by(later.operation) if later.operation else ():
                found[name] = later.sequence
                if later.sequence > open_names.get(name, later.sequence):
                    del open_names[name]
    return found
