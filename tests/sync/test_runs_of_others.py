"""What this process writes to a run of others comes after what they left waiting."""

import hashlib
import io

from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateRun,
    LogArtifact,
)
from hokusai_core.settings import Settings
from hokusai_core.testing.simulation import MemoryPlace, SimulatedClock, SimulatedProcess, World


def test_a_file_that_waits_is_not_overtaken_by_one_after_a_logged_model() -> None:
    clock = SimulatedClock()
    world = World(MemoryPlace(clock), clock, Settings.load(auto_sync=False))
    process = SimulatedProcess(world, "direct", None)
    experiment_id = process.router.write(CreateExperiment(name="e")).identifier
    creation = CreateRun(experiment_id=experiment_id, run_name="run", start_time=1)
    run_id = process.router.write(creation).identifier
    owner = ArtifactOwner(kind="run", id=run_id)

    def log_file(writer: SimulatedProcess, content: bytes) -> None:
        file = LogArtifact(
            run_id=run_id,
            owner=owner,
            path="data.bin",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        writer.router.write(file, lambda: io.BytesIO(content))

    log_file(SimulatedProcess(world, "queued", None, "queued"), b"early")
    process.restart()
    model = CreateLoggedModel(run_id=run_id, experiment_id=experiment_id, name="model")
    assert process.router.write(model).state == "pending", "the run's files have an order"
    log_file(process, b"late")
    while process.worker.run_once().kind == "progress":
        pass
    with world.primary.store.open_artifact(owner, "data.bin") as stored:
        assert stored.read() == b"late"
