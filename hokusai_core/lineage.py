"""From what a model came: the chain of baselines that it improved on."""

from collections.abc import Callable, Mapping

from hokusai_core.errors import ModelNotFoundError
from hokusai_core.operations import Value
from hokusai_core.registry_entry import ModelRegistryEntry

_COUNTED = "improvement"


class ModelLineage(Value):
    """The models that led to one, oldest first, the model itself last.

    ``total_improvement`` is the sum of the improvements that the entries tell: of each entry's
    ``delta_metrics`` those whose name holds ``improvement``, or else all. ``complete`` is False where
    the chain ends at a baseline that is not found, or comes back to a model that it has seen.
    """

    model_id: str
    entries: tuple[ModelRegistryEntry, ...]
    total_improvement: float = 0.0
    complete: bool = True


def trace(last: ModelRegistryEntry, find: Callable[[str], ModelRegistryEntry]) -> ModelLineage:
    """Follow the baselines back from an entry; each model is looked up once.

    Args:
        last: Where the lineage ends.
        find: Gives the entry of a model id; raises ModelNotFoundError.
    """
    chain = [last]
    seen = {last.model_id}
    complete = True
    while baseline_id := chain[-1].baseline_id:
        if baseline_id in seen:
            complete = False
            break
        try:
            entry = find(baseline_id)
        except ModelNotFoundError:
            complete = False
            break
        seen |= {baseline_id, entry.model_id}
        chain.append(entry)
    entries = tuple(reversed(chain))
    return ModelLineage(
        model_id=last.model_id,
        entries=entries,
        total_improvement=sum(improvement(entry.delta_metrics) for entry in entries),
        complete=complete,
    )


def improvement(deltas: Mapping[str, object]) -> float:
    """Sum the deltas whose name holds ``improvement``, or else all that are numbers."""
    numbers = {
        name: float(value)
        for name, value in deltas.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    named = [value for name, value in numbers.items() if _COUNTED in name]
    return sum(named or numbers.values())
