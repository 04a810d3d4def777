"""A tracking store and registry in memory.

It serves twice: as what the mock backend writes to, and, with ``preserve_ids``, to replay waiting
operations so that reads show what they will have done (see :mod:`hokusai_core.overlay`).
"""

from hokusai_core.entities import Receipt
from hokusai_core.hookspecs import OpenContent
from hokusai_core.memory_registry import RegistryTables
from hokusai_core.memory_tracking import TrackingTables
from hokusai_core.operations import LogArtifact, Operation


class MemoryStore(TrackingTables, RegistryTables):
    """Both specifications in memory, with MLflow's semantics; thread-safe.

    Args:
        preserve_ids: False for a store that gives ids of its own (decimal experiment ids, random
            run ids, version numbers from 1) and refuses writes to what it does not know. True for
            replay: a creation keeps its provisional id, and a write to something unknown makes a
            bare stub of it, with ``complete`` False on runs.

    """

    def __init__(self, *, preserve_ids: bool = False) -> None:
        TrackingTables.__init__(self, preserve_ids=preserve_ids)
        RegistryTables.__init__(self, preserve_ids=preserve_ids)

    def apply(self, operation: Operation, open_content: OpenContent | None = None) -> Receipt:
        """Carry out an operation of any kind, whole or not at all.

        Args:
            operation: What to do.
            open_content: Opens the bytes of a LogArtifact; without it only name and size are kept.

        Raises:
            PermanentError: What MLflow would refuse: an unknown or deleted run, a changed param.

        """
        if isinstance(operation, LogArtifact):
            return self.log_artifact(operation, open_content)
        receipt: Receipt = getattr(self, operation.kind)(operation)
        return receipt
