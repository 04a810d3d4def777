"""Which retried operations must not be sent any more, because a later one has decided.

An operation that was dead goes back to its old place in its stream, while later operations of the
stream may be delivered already. What only the last writer decides (a tag, a status, an alias, a
file) must then not be written over. The worker asks under its claim, so nothing of the stream can be
delivered meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator

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

_PAGE = 1000
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
    claim: Claim, read: ReadEntries
) -> tuple[tuple[QueuedOperation, ...], tuple[str, ...]]:
    """Take out of a claim what later delivered operations have decided.

    Args:
        claim: What was claimed; the lease runs.
        read: The journal's hook ``journal_read``.

    Returns:
        What is left to send, in order: an operation that sets several things is left with those
        that nobody decided since. And the ``op_id`` of those of which nothing is left.

    Raises:
        JournalUnavailableError: The journal cannot be reached.
    """
    left: list[QueuedOperation] = []
    superseded: list[str] = []
    for entry in claim.operations:
        operation = entry.operation if entry.retried_at is not None else None
        if operation is None or not decided_by(operation):
            left.append(entry)
            continue
        reduced = reduced_by(operation, _delivered_after(entry, read))
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


def reduced_by(operation: AnyOperation, later: Iterable[AnyOperation]) -> AnyOperation | None:
    """Give an operation without what later ones decided; None where nothing is left of it."""
    left = set(decided_by(operation))
    for other in later:
        left -= decided_by(other)
        if not left:
            break
    if len(left) == len(decided_by(operation)):
        return operation
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
        gone = {field: None for field, name in names.items() if name not in left}
        return operation.model_copy(update=gone)
    return operation


def _tags_in(tags: dict[str, str], names: set[str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if f"tag/{key}" in names}


def _delivered_after(entry: QueuedOperation, read: ReadEntries) -> Iterator[AnyOperation]:
    """Read the later operations of the stream that the primary has."""
    after = entry.sequence
    while page := read(
        EntryQuery(
            destination=entry.destination,
            streams=(entry.stream,),
            kinds=_KINDS,
            states=("delivered",),
            after=after,
            limit=_PAGE,
        )
    ):
        yield from (later.operation for later in page if later.operation is not None)
        after = page[-1].sequence
