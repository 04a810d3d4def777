"""Python programs in processes of their own, as users run them."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.warm_python import PYTHON

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
    program: str, *arguments: str, code: int = 0, fresh: bool = False, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and see that its exit code is the expected one.

    Args:
        program: Its text.
        arguments: Its arguments.
        code: The exit code that is expected.
        fresh: Start an interpreter for it, for a program to which it matters what is imported when.
        variables: Of its environment.
    """
    if fresh:
        with running(program, *arguments, **variables) as process:
            out, err = process.communicate(timeout=120)
        done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    else:
        done = PYTHON.run(
            "-c",
            textwrap.dedent(program),
            *arguments,
            folder=_ROOT,
            environment=environment(**variables),
        )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
