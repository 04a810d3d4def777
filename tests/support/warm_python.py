"""Runs Python programs in forks of one process that has imported the heavy packages already.

Importing MLflow, pandas and scikit-learn takes three seconds of computing; a test that runs a script
only to see what it does needs that once, not for each script.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

_ROOT = Path(__file__).parents[2]
_PRELOADED = (
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


class WarmPython:
    """The process that forks. It starts with the first program, and ends when this one does.

    Its forks share nothing else with each other.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, *arguments: str, folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end.

        Args:
            arguments: As those of ``python``: a script, or ``-m`` and a module, or ``-c`` and a text,
                and the program's own.
            folder: The working directory.
            environment: All variables.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            out, err = Path(name, "out"), Path(name, "err")
            request = {
                "arguments": arguments,
                "folder": str(folder),
                "environment": dict(environment),
                "out": str(out),
                "err": str(err),
            }
            print(json.dumps(request), file=process.stdin, flush=True)
            code = int(process.stdout.readline())
            return subprocess.CompletedProcess(
                arguments, code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
            )

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            kept = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("HOKUSAI_", "MLFLOW_", "_MLFLOW_", "PYTEST_"))
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm_python"],
                cwd=_ROOT,
                env=kept | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process


PYTHON = WarmPython()
"""One for all tests of this process."""


def _serve() -> int | None:
    """Fork for each request and tell the exit code; gives the program to run in a fork."""
    for name in _PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            return _program(request)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)
    return None


def _program(request: dict[str, Any]) -> int:
    """Become the program that was asked for, and give its exit code."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], writing),
        (2, request["err"], writing),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
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


if __name__ == "__main__":
    sys.exit(cast("int", _serve()))
