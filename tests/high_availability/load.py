"""A training job, as a program: it writes runs until it is told to stop, and tells what it wrote.

``python -m tests.high_availability.load hokusai|plain URL FOLDER NAME THREADS``. It prints "began"
after the first write, stops with the end of its input, and then prints a line of JSON (:class:`Told`
as a dict). ``plain`` makes the same calls with MLflow's own client and its defaults.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from tests.high_availability.cluster import clean_environment

POINTS_OF_A_RUN = 40
PACE_SECONDS = 0.02
SETTINGS = {"late_effect_seconds": 10.0}
"""All other settings are the defaults: the figures in the documentation are those of a user."""
EXIT_SECONDS = 300.0


@dataclass
class Call:
    """One call: when it began (seconds since the epoch), how long it took, and whether it raised."""

    kind: str
    began: float
    seconds: float
    error: str = ""


@dataclass
class Told:
    """What a job says at its end: its calls, and what has to be on the server of each run, by name."""

    calls: list[Call] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    waited: float = 0.0

    @classmethod
    def read(cls, line: str) -> Self:
        """Read the line of a job."""
        told = json.loads(line)
        calls = [Call(**call) for call in told.pop("calls")]
        return cls(calls=calls, **told)


class Job:
    """A job that runs as a process of its own."""

    def __init__(self, kind: str, url: str, folder: Path, name: str, threads: int = 2) -> None:
        folder.mkdir()
        self.folder = folder
        self.name = name
        self._log = (folder / "job.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, kind, url, str(folder), name, str(threads)],
            env=clean_environment(),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def wait_until_it_writes(self) -> None:
        """Wait for its first write."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "began\n":
            raise RuntimeError(f"the job did not begin:\n{self.log()}")

    def finish(self) -> Told:
        """Let it end its runs and deliver what waits."""
        out, _ = self._process.communicate(timeout=EXIT_SECONDS)
        if self._process.returncode != 0:
            raise RuntimeError(f"the job failed:\n{self.log()}")
        # MLflow's client prints lines of its own before.
        return Told.read(out.splitlines()[-1])

    def log(self) -> str:
        """Give what it has printed to its standard error."""
        return (self.folder / "job.log").read_text(encoding="utf-8")

    def end(self) -> None:
        """End it, however it stands."""
        self._process.kill()
        self._process.wait(30)
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                _close(stream)


def _close(stream: IO[str]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return


class Writer:
    """One thread of a job: run after run, and what each has to become."""

    def __init__(self, name: str, told: Told, stop: threading.Event) -> None:
        self.name = name
        self.told = told
        self.stop = stop

    def call(self, kind: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Make a call and note what became of it; gives None where it raised."""
        began, ticks = time.time(), time.monotonic()
        error = ""
        try:
            return function(*arguments, **named)
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is told
            error = f"{type(raised).__name__}: {raised}"
        finally:
            self.told.calls.append(Call(kind, began, time.monotonic() - ticks, error))

    def write(self, start_run: Callable[..., Any]) -> None:
        """Write runs until the job stops; each is ended in good order."""
        number = 0
        while not self.stop.is_set():
            self.write_run(start_run, f"{self.name}-{number}")
            number += 1

    def write_run(self, start_run: Callable[..., Any], name: str) -> None:
        """Write one run."""
        expected: dict[str, Any] = {"points": [], "params": {}, "tags": {}, "files": {}}
        run = self.call("start_run", start_run, run_name=name)
        if run is None:
            self.stop.wait(1.0)
            return
        self.told.runs[name] = expected
        if self.call("log_params", run.log_params, {"name": name}) is not None:
            expected["params"] = {"name": name}
        for step in range(POINTS_OF_A_RUN):
            if self.call("log_metric", run.log_metric, "loss", 1 / (step + 1), step=step):
                expected["points"].append([step, 1 / (step + 1)])
            if step % 10 == 0 and self.call("set_tag", run.set_tag, "step", str(step)):
                expected["tags"] = {"step": str(step)}
            if self.stop.wait(PACE_SECONDS):
                break
        if self.call("log_text", run.log_text, name * 100, "texts/name.txt"):
            expected["files"] = {"texts/name.txt": name * 100}
        self.call("end", run.end)
        expected["status"] = "FINISHED"


class HokusaiRun:
    """A run handle whose calls tell that they returned."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def __getattr__(self, name: str) -> Callable[..., bool]:
        method = getattr(self._handle, name)

        def call(*arguments: Any, **named: Any) -> bool:
            method(*arguments, **named)
            return True

        return call


class PlainRun:
    """The same calls with MLflow's client."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def log_params(self, params: dict[str, str]) -> bool:
        for key, value in params.items():
            self._client.log_param(self._run_id, key, value)
        return True

    def log_metric(self, key: str, value: float, step: int) -> bool:
        self._client.log_metric(self._run_id, key, value, step=step)
        return True

    def set_tag(self, key: str, value: str) -> bool:
        self._client.set_tag(self._run_id, key, value)
        return True

    def log_text(self, text: str, path: str) -> bool:
        self._client.log_text(self._run_id, text, path)
        return True

    def end(self) -> bool:
        self._client.set_terminated(self._run_id)
        return True


def main(kind: str, url: str, folder: str, name: str, threads: str) -> None:
    told, stop = Told(), threading.Event()
    if kind == "plain":
        start_run, finish = _plain(url, name)
    else:
        start_run, finish = _hokusai(url, folder, name)
    writers = [
        threading.Thread(target=Writer(f"{name}-{n}", told, stop).write, args=(start_run,))
        for n in range(int(threads))
    ]
    for writer in writers:
        writer.start()
    while not told.calls and any(writer.is_alive() for writer in writers):
        stop.wait(0.05)
    print("began", flush=True)
    sys.stdin.read()
    stop.set()
    for writer in writers:
        writer.join()
    began = time.monotonic()
    finish()
    told.waited = time.monotonic() - began
    print(json.dumps(asdict(told)), flush=True)


def _hokusai(url: str, folder: str, name: str) -> tuple[Callable[..., Any], Callable[[], None]]:
    from hokusai_core import ExperimentManager, Settings

    settings = Settings.load(data_dir=Path(folder), **SETTINGS)
    manager = ExperimentManager(name, url, settings=settings)

    def finish() -> None:
        until = time.monotonic() + EXIT_SECONDS / 2
        while manager.runtime.waiting() and time.monotonic() < until:
            time.sleep(0.05)
        assert manager.runtime.waiting() == 0, manager.runtime.waiting()

    return lambda **named: HokusaiRun(manager.start_run(**named)), finish


def _plain(url: str, name: str) -> tuple[Callable[..., Any], Callable[[], None]]:
    from mlflow import MlflowClient

    client = MlflowClient(url, url)
    experiment_id = client.create_experiment(name)

    def start_run(run_name: str) -> PlainRun:
        run = client.create_run(experiment_id, run_name=run_name)
        return PlainRun(client, run.info.run_id)

    return start_run, lambda: None


if __name__ == "__main__":
    main(*sys.argv[1:])
