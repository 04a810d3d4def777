"""Public helpers for tests: the mock backend, and a journal in memory.

The modules beside them need the extra ``[testing]``: ``contracts`` are the tests that every backend
has to pass, ``strategies`` makes operations for Hypothesis.
"""

from hokusai_core.testing.memory_journal import MemoryJournal
from hokusai_core.testing.mock import MockBackend

__all__ = ["MemoryJournal", "MockBackend"]
