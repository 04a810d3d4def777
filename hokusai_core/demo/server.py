"""A real ``mlflow server`` in a process group of its own, to be killed and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from hokusai_core.demo.environment import clean_environment
from hokusai_core.demo.interruptions import put_off_interruptions
from hokusai_core.errors import UnavailableError

_START_SECONDS = 120.0
_END_SECONDS = 10.0
_POLL_SECONDS = 0.1
_LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Starts none of the processes that work on MLflow's background jobs: nobody sends any here."""


class DemoServer:
    """One MLflow server on the loopback; its data survive a kill.

    Args:
        folder: Where database, artifacts and log are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's address, the same for every start."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The number of the server's process and of its group; 0 where it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            UnavailableError: It ended, or did not answer within two minutes.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # Where Ctrl-C comes within Popen, the process runs and nobody knows its number.
        with self._log.open("ab") as log, put_off_interruptions():
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment(os.environ) | _LEAN,
                cwd=self._folder,
                start_new_session=True,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise UnavailableError(f"mlflow server did not start; the end of its log:\n{tail}")
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End the server and all its workers at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the server in good order, and whatever of it does not end by itself."""
        self._end(signal.SIGTERM)
        self._end(signal.SIGKILL)

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _command(self) -> list[str]:
        options = {
            "--backend-store-uri": f"sqlite:///{self._folder / 'mlflow.db'}",
            "--artifacts-destination": str(self._folder / "artifacts"),
            "--host": "127.0.0.1",
            "--port": str(self._port),
            "--workers": "1",
        }
        words = [word for option in options.items() for word in option]
        return [sys.executable, "-m", "mlflow", "server", *words]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
        except (urllib.error.URLError, OSError):
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
            if how is signal.SIGKILL:
                self._wait_for_workers(self._process.pid)
                self._process = None

    @staticmethod
    def _wait_for_workers(group: int) -> None:
        """Wait until no process of the group is left that could still write a file."""
        until = time.monotonic() + _END_SECONDS
        while time.monotonic() < until:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(_POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
