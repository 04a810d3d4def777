"""Jobs and the processes that deliver for them are killed at random: each metric is there, once."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from hokusai_core import ExperimentManager, Settings
from tests.acceptance import programs
from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.soak, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals")]

SHORT: dict[str, Any] = {
    "lease_seconds": 4.0,
    "write_timeout": 2.0,
    "artifact_idle_timeout": 2.0,
    "late_effect_seconds": 2.0,
}
JOB = """
    import os, sys, time
    from hokusai_core import ExperimentManager

    manager = ExperimentManager("killed jobs", delivery="queued", durability="process")
    run = manager.start_run()
    mark = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    step, told = 0, False
    while True:
        run.log_metrics({"loss": step / 7, "accuracy": step / 9}, step=step)
        os.pwrite(mark, b"%010d" % step, 0)
        if step % 700 == 699:
            run.log_param(f"p{step}", step)
        step += 1
        if step % 3 == 0:
            time.sleep(0.001)
        if not told and manager.runtime.drainer.pid is not None:
            told = True
            print(run.run_id, manager.runtime.drainer.pid, flush=True)
"""


@contextmanager
def job(server: MlflowServer, folder: Path) -> Iterator[tuple[str, int]]:
    """Run a job; gives the run's id and the number of the process that delivers, and kills the job."""
    variables = {f"HOKUSAI_{name.upper()}": value for name, value in SHORT.items()}
    with programs.running(
        JOB,
        str(folder / "mark"),
        MLFLOW_TRACKING_URI=server.url,
        HOKUSAI_AUTO_SYNC="process",
        HOKUSAI_DATA_DIR=folder / "data",
        HOKUSAI_EXIT_TIMEOUT=0.5,
        **variables,
    ) as process:
        run_id, pid = process.stdout.readline().split()
        yield run_id, int(pid)
        process.kill()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_killed_each_metric_is_there_once(
    seed: int, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    chosen = random.Random(seed)
    with job(mlflow_server, tmp_path) as (run_id, pid):
        time.sleep(chosen.uniform(0.3, 3.5))
        what = chosen.choice(["job alone", "process", "process is stopped"])
        if what == "process":
            os.kill(pid, signal.SIGKILL)
            time.sleep(chosen.uniform(0.0, 1.5))
        if what == "process is stopped":
            os.kill(pid, signal.SIGSTOP)
            time.sleep(chosen.uniform(0.0, 1.5))
            os.kill(pid, signal.SIGCONT)
    last = int((tmp_path / "mark").read_text())
    settings = Settings.load(data_dir=tmp_path / "data", auto_sync=False, **SHORT)
    manager = ExperimentManager("killed jobs", mlflow_server.url, settings=settings)
    stop = threading.Event()
    report = manager.runtime.drain().run(wait_seconds=30, stop=stop)
    assert (report.left, report.dead) == (0, 0), report.reasons
    primary_id = manager.get_run(run_id).info.run_id
    manager.runtime.close_connections()
    client = MlflowClient(mlflow_server.url)
    for key in ("loss", "accuracy"):
        found = Counter(point.step for point in client.get_metric_history(primary_id, key))
        # The call in which it was killed may have got as far as that.
        assert set(range(last + 1)) <= found.keys() <= set(range(last + 2))
        assert set(found.values()) == {1}
    params = client.get_run(primary_id).data.params
    assert {f"p{step}" for step in range(699, last, 700)} <= params.keys()
    assert list((tmp_path / "data" / "hokusai.db-points").iterdir()) == []
