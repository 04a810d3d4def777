"""Public helpers for tests: the mock backend, and a journal in memory.

The modules beside them need the extra ``[testing]``: ``contracts`` are the tests that every backend
has to pass, ``cuts`` are points at which they cut it off, ``strategies`` makes operations for
Hypothesis, ``state_machine`` drives a journal in any order. The fixtures for pytest are in the module
``hokusai_pytest``, which pytest loads by itself.
"""

from hokusai_core.testing.memory_journal import MemoryJournal
from hokusai_core.testing.mock import MockBackend
from hokusai_core.testing.outage import Outage

__all__ = ["MemoryJournal", "MockBackend", "Outage"]
