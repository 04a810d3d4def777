"""Short ways to say what the tests of the queue say all the time."""

from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Claim, ClaimRequest, Entry, EntryQuery, Settlement
from hokusai_core.operations import (
    CreateRun,
    LogBatch,
    MetricPoint,
    Operation,
)

HERE = "http://here"


def create_run(name: str = "first") -> CreateRun:
    return CreateRun(experiment_id="0", run_name=name, start_time=1)


def log_metric(run_id: str, value: float = 1.0) -> LogBatch:
    return LogBatch(run_id=run_id, metrics=(MetricPoint(key="m", value=value, timestamp=1),))


def append(journal: Journal, *operations: Operation, destination: str = HERE) -> int:
    entries = tuple(Entry(operation=each, destination=destination) for each in operations)
    return journal.journal_append(entries, None)


def request(**values: object) -> ClaimRequest:
    return ClaimRequest.model_validate({"destination": HERE, "worker": "w"} | values)


def claim(journal: Journal, **values: object) -> Claim:
    (claimed,) = journal.journal_claim(request(**values))
    return claimed


def nothing_due(journal: Journal, **values: object) -> bool:
    return journal.journal_claim(request(**values)) == ()


def delivered(operation: Operation, primary_id: str = "") -> Settlement:
    return Settlement(op_id=operation.op_id, outcome="delivered", primary_id=primary_id)


def dead(operation: Operation, error: str = "refused") -> Settlement:
    return Settlement(op_id=operation.op_id, outcome="dead", error=error)


def op_ids(claimed: Claim) -> list[str]:
    return [queued.op_id for queued in claimed.operations]


def states(journal: Journal) -> dict[str, str]:
    query = EntryQuery(states=("waiting", "delivered", "dead", "discarded"))
    return {queued.op_id: queued.state for queued in journal.journal_read(query)}
