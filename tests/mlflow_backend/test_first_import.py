"""MLflow is imported with the first call, by whichever thread makes it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
from hokusai_backend_mlflow.plugin import plugin
from hokusai_core.backends import open_backend
from hokusai_core.clock import Deadline
from hokusai_core.errors import UnavailableError
from hokusai_core.operations import *
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings

config = BackendConfig(Settings.load(), tracking_uri="http://127.0.0.1:1")
operations = [
    LogBatch(run_id="r", tags={"a": "b"}),
    CreateModelVersion(name="m", source="s3://b/m"),
    CreateExperiment(name="e"),
    UpdateRun(run_id="r", status="FINISHED"),
    CreateLoggedModel(run_id="r", experiment_id="1", name="m"),
    CreateRegisteredModel(name="m"),
]
shared = open_backend(plugin, config)
raised = []
barrier = threading.Barrier(len(operations))

def call(number, operation):
    backend = shared if number % 2 else open_backend(plugin, config)
    barrier.wait()
    try:
        backend.write(operation, Deadline(60.0))
    except BaseException as error:
        raised.append(type(error).__name__)

threads = [threading.Thread(target=call, args=pair) for pair in enumerate(operations)]
sys.setswitchinterval(1e-5)
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*raised)
"""


@pytest.mark.parametrize(
    "_attempt", [0, *(pytest.param(number, marks=pytest.mark.soak) for number in range(1, 10))]
)
def test_several_threads_may_make_the_first_call(_attempt: int) -> None:
    """MLflow's modules import each other in circles, which threads must not enter at two places."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["UnavailableError"] * 6, done.stdout + done.stderr
    assert done.stderr == ""
