"""Python programs in processes of their own, as users run them."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.support import session

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


def running(
    program: str, *arguments: str, to_the_end: bool = False, **variables: Any
) -> session.Program:
    """Start a program with pipes to its standard streams; a failure inside the block ends it."""
    return session.Program(
        *("-c", textwrap.dedent(program), *arguments),
        environment=environment(**variables),
        to_the_end=to_the_end,
    )


def run(
    program: str,
    *arguments: str,
    code: int = 0,
    fresh: bool = False,
    to_the_end: bool = False,
    **variables: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and see that its exit code is the expected one.

    Args:
        program: Its text.
        arguments: Its arguments.
        code: The exit code that is expected.
        fresh: Start an interpreter for it, for a program to which it matters what is imported when.
        to_the_end: Let the interpreter end as it does, for a program whose end is looked at.
        variables: Of its environment.
    """
    line = ("-c", textwrap.dedent(program), *arguments)
    done = (
        subprocess.run(
            [sys.executable, *line],
            env=environment(**variables),
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if fresh
        else session.run(*line, environment=environment(**variables), to_the_end=to_the_end)
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
