"""The end of an outage of the mock."""

from hokusai_core import ExperimentManager
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for


def up(mock: MockBackend, manager: ExperimentManager) -> None:
    """Let the mock answer again, and wait until the manager's next call asks it."""
    mock.up()
    circuit = manager.runtime.circuits.primary
    assert wait_for(lambda: circuit.seconds_until_probe() == 0.0)
