"""The tests' side of the session's process: programs to fork, and servers to share."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock

from tests.support.session_process import VARIABLE, socket_path
from tests.support.waiting import wait_for

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0


class Session:
    """Starts the session's process, and ends it; made by the pytest that the user started."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="hokusai-session-"))
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HOKUSAI_", "MLFLOW_", "_MLFLOW_", "PYTEST_"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.session_process", str(self._folder)],
            cwd=_ROOT,
            env=kept | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.PIPE,
        )
        os.environ[VARIABLE] = str(self._folder)

    def close(self) -> None:
        """End the process and all servers that it keeps."""
        os.environ.pop(VARIABLE, None)
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        finally:
            self._process.kill()
            shutil.rmtree(self._folder, ignore_errors=True)


class Program:
    """A running program, with the methods of ``subprocess.Popen`` that tests use.

    Args:
        arguments: As those of ``python``: a script, or ``-m`` and a module, or ``-c`` and a text, and
            the program's own.
        folder: The working directory.
        environment: All variables.
        to_the_end: Let the interpreter take itself apart in the end, which may print something; else
            the program ends when its exit handlers have run.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path = _ROOT,
        environment: Mapping[str, str] = os.environ,
        to_the_end: bool = False,
    ) -> None:
        ours, theirs = zip(*(reversed(os.pipe()), os.pipe(), os.pipe()), strict=True)
        request = {
            "arguments": arguments,
            "folder": str(folder),
            "environment": dict(environment),
            "to_the_end": to_the_end,
        }
        self.args = arguments
        self.returncode: int | None = None
        self.stdin = os.fdopen(ours[0], "w")
        self.stdout = os.fdopen(ours[1])
        self.stderr = os.fdopen(ours[2])
        self._answers = _ask(request, *theirs)
        for stream in theirs:
            os.close(stream)
        self.pid = int(_line(self._answers))

    def poll(self) -> int | None:
        """Give the exit code, None while it runs."""
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            self.returncode = int(_line(self._answers))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and give the exit code; raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._answers], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = int(_line(self._answers))
        return self.returncode

    def communicate(self, text: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write a text to standard input and close it, read what is printed to its end, and wait."""
        self.stdin.write(text)
        self.stdin.close()
        with ThreadPoolExecutor(2) as threads:
            out, err = threads.submit(self.stdout.read), threads.submit(self.stderr.read)
            try:
                printed = out.result(timeout), err.result(timeout)
            except TimeoutError:
                self.kill()
                raise
        self.wait(timeout)
        return printed

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        """Close the streams at the end of the block, and wait; a failure ends the program."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End."""
        if kind:
            self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()
        self.wait(_STOP_SECONDS)
        self._answers.close()


def run(
    *arguments: str,
    folder: Path = _ROOT,
    environment: Mapping[str, str] = os.environ,
    to_the_end: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the arguments are those of :class:`Program`."""
    with Program(
        *arguments, folder=folder, environment=environment, to_the_end=to_the_end
    ) as program:
        out, err = program.communicate(timeout=_START_SECONDS)
    assert program.returncode is not None
    return subprocess.CompletedProcess(arguments, program.returncode, out, err)


def shared(server: Literal["mlflow", "postgres"]) -> tuple[str, Path]:
    """Start a server, unless another process of this pytest has done so.

    Returns:
        Its address (MLflow's is a port), and the folder of its data.
    """
    folder = Path(os.environ[VARIABLE])
    told = folder / f"{server}.address"
    with FileLock(folder / f"{server}.lock"):
        if not told.exists():
            with _ask({"server": server}) as answers:
                told.write_text(_line(answers), encoding="utf-8")
    return told.read_text(encoding="utf-8"), folder / server


def _ask(request: dict[str, Any], *streams: int) -> socket.socket:
    folder = Path(os.environ[VARIABLE])
    assert wait_for(Path(socket_path(folder)).exists, _START_SECONDS)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_START_SECONDS)
    connection.connect(socket_path(folder))
    message = json.dumps(request).encode()
    sent = socket.send_fds(connection, [message], streams)
    connection.sendall(message[sent:])
    connection.shutdown(socket.SHUT_WR)
    return connection


def _line(connection: socket.socket) -> str:
    """Read one line, and nothing behind it."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        assert byte, "The session's process has ended; see what it printed."
        line += byte
    return line.decode().strip()
