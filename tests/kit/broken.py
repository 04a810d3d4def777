"""How a broken backend says which clause it breaks."""

from collections.abc import Callable
from typing import TypeVar

Broken = TypeVar("Broken", bound=type)

BREAKS: dict[str, list[type]] = {}
"""The broken backends by the name of the clause that each of them breaks."""


def breaks(*clauses: str) -> Callable[[Broken], Broken]:
    """Register a broken backend under the clauses that have to notice it."""

    def register(broken: Broken) -> Broken:
        for clause in clauses:
            BREAKS.setdefault(clause, []).append(broken)
        return broken

    return register
