"""A real ``mlflow server`` in a process group of its own, to be killed and started again."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.when_idle import when_idle

_START_SECONDS = 90.0
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0
_TEMPLATE = Path(__file__).parents[2] / ".pytest_cache" / f"mlflow-{version('mlflow')}.db"
"""An empty database of this MLflow: making its tables anew takes seconds at each start."""


class MlflowServer:
    """One server with its database and artifacts inside ``folder``.

    Args:
        folder: Where database, artifacts and log are kept; data survive a kill and a new start.
        port: Port on 127.0.0.1; a free one where it is None. It stays the same for every start.
        gives_way: Let all other processes go first, as if the server ran on another machine.

    """

    def __init__(self, folder: Path, port: int | None = None, *, gives_way: bool = False) -> None:
        self.folder = folder
        self._gives_way = gives_way
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the server and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = not (self.folder / "mlflow.db").exists()
        if new and _TEMPLATE.exists():
            shutil.copy(_TEMPLATE, self.folder / "mlflow.db")
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                when_idle(self._command()) if self._gives_way else self._command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise
        if new and not _TEMPLATE.exists():
            _keep_template(self.folder / "mlflow.db")
        return self

    def kill(self) -> None:
        """End the server and its workers with SIGKILL, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the server in good order; with SIGKILL where that takes too long."""
        self._end(signal.SIGTERM)

    def restart(self) -> Self:
        """Kill the server where it runs, and start it again on the same port and data."""
        self.kill()
        return self.start()

    def log(self) -> str:
        """Give what the server has printed."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill."""
        self.kill()

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            self.database_uri,
            "--artifacts-destination",
            str(self.folder / "artifacts"),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HOKUSAI_", "MLFLOW_", "_MLFLOW_", "PYTEST_"))
        }
        return kept | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            # The job queue of evaluations costs several processes, and no test uses it.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    def _wait_until_it_answers(self) -> None:
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"mlflow server ended at its start:\n{self.log()[-4000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(_POLL_SECONDS)
        raise RuntimeError(f"mlflow server did not answer in time:\n{self.log()[-4000:]}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for attempt in (how, signal.SIGKILL):
            try:
                os.killpg(process.pid, attempt)
            except ProcessLookupError:
                break
            try:
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            if attempt is signal.SIGKILL:
                break
        process.wait(timeout=_STOP_SECONDS)


def _keep_template(database: Path) -> None:
    _TEMPLATE.parent.mkdir(exist_ok=True)
    partial = _TEMPLATE.with_suffix(f".{os.getpid()}")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    partial.replace(_TEMPLATE)
