"""One process beside the tests: it forks programs, and keeps the servers that all tests share.

Importing MLflow, pandas and scikit-learn takes four seconds of computing, and so does the start of a
server. This process, which pytest starts and which ends with it, does each once: for all of pytest's
own processes, and for all programs whose tests only look at what they do.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "TESTS_SESSION_FOLDER"
"""Names the folder of the session's process, for all processes of pytest."""
PRELOADED = (
    "hokusai_core.cli",
    "hokusai_core.comparison",
    "hokusai_backend_mlflow.client",
    "hokusai_backend_sql.engine",
    "mlflow.sklearn",
    "psycopg",
    "sklearn.datasets",
    "sklearn.linear_model",
    "sklearn.metrics",
)
_MOST_BYTES = 1 << 20


def socket_path(folder: Path) -> str:
    """Where the process listens."""
    return str(folder / "socket")


def serve(folder: Path) -> int:
    """Answer requests until standard input ends; each in a fork, which returns from here, too."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    leaving = Leaving()
    lifeline, held = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(socket_path(folder))
        listener.listen(64)
        while True:
            readable, _, _ = select.select([listener, 0], [], [])
            if 0 in readable:
                break
            connection, _ = listener.accept()
            with connection:
                message, streams, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
                while more := connection.recv(_MOST_BYTES):
                    message += more
                request = json.loads(message)
                if "arguments" in request:
                    for name in PRELOADED:
                        importlib.import_module(name)
                if os.fork() == 0:
                    listener.close()
                    os.close(held)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    if "arguments" in request:
                        return _watch_program(connection, request, streams, leaving)
                    return _SERVERS[request["server"]](connection, folder, lifeline)
                for stream in streams:
                    os.close(stream)
    os.close(held)
    with suppress(ChildProcessError):
        os.wait()  # for all of them: none is left behind as a zombie
    return 0


class Leaving:
    """Ends a program as soon as its exit handlers have run.

    Taking apart what a program has not imported itself costs a second and a half of computing. To be
    made before anything registers a handler: what was registered first is called last.
    """

    def __init__(self) -> None:
        self.short = False
        self._code = 0
        atexit.register(self._leave)

    def run(self, program: Callable[[], int]) -> int:
        """Run a program, and remember how it ended."""
        try:
            return program()
        except SystemExit as end:
            self._code = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
        except KeyboardInterrupt:
            self._code = -signal.SIGINT
            raise
        except BaseException:
            self._code = 1
            raise

    def _leave(self) -> None:
        if not self.short:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        if self._code < 0:
            signal.signal(-self._code, signal.SIG_DFL)
            os.kill(os.getpid(), -self._code)
        os._exit(self._code)


def _watch_program(
    connection: socket.socket, request: dict[str, Any], streams: list[int], leaving: Leaving
) -> int:
    """Fork a program; tell its pid, and in the end its exit code."""
    child = os.fork()
    if child == 0:
        connection.close()
        leaving.short = not request["to_the_end"]
        return leaving.run(partial(_become, request, streams))
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):  # nobody listens any more
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> int:
    """Become the program that was asked for, and give its exit code."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the one of the other process is at its end
    first, *rest = request["arguments"]
    if first == "-m":
        sys.path.insert(0, request["folder"])
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = [first, *rest[1:]]
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(module))
    else:
        sys.path.insert(0, str(Path(first).parent.absolute()))
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")
    return 0


def _keep_mlflow(connection: socket.socket, folder: Path, lifeline: int) -> int:
    from tests.support.mlflow_server import MlflowServer

    with MlflowServer(folder / "mlflow") as server:
        return _keep(connection, str(server.port), lifeline)


def _keep_postgres(connection: socket.socket, folder: Path, lifeline: int) -> int:
    from tests.support.postgres import embedded_server

    del folder  # it has one of its own, that another user can reach
    with embedded_server() as url:
        return _keep(connection, url, lifeline)


def _keep(connection: socket.socket, address: str, lifeline: int) -> int:
    """Tell the address of a server, and wait for the end of the session."""
    connection.sendall(f"{address}\n".encode())
    connection.close()
    os.read(lifeline, 1)
    return 0


_SERVERS: dict[str, Callable[[socket.socket, Path, int], int]] = {
    "mlflow": _keep_mlflow,
    "postgres": _keep_postgres,
}

if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1])))
