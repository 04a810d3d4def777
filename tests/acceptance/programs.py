"""Python programs in processes of their own, as users run them."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


def environment(**variables: Any) -> dict[str, str]:
    """This process's environment without settings of pytest and MLflow, and with these variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "MLFLOW_", "_MLFLOW_"))
    }
    changes = {name: str(value) for name, value in variables.items()}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"} | changes


@contextmanager
def running(program: str, *arguments: str, **variables: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a program with pipes to its standard streams; a failure inside the block ends it."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env=environment(**variables),
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def run(
    program: str, *arguments: str, code: int = 0, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and see that its exit code is the expected one."""
    with running(program, *arguments, **variables) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
