"""The sync protocol under everything that Hypothesis can think of."""

from hypothesis import HealthCheck, settings

from hokusai_core.testing.state_machine import SyncMachine

QUICK = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

SyncMachine.TestCase.settings = QUICK
TestMemoryJournal = SyncMachine.TestCase
