"""``hokusai demo``: see for yourself that nothing is lost."""

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from hokusai_core.cli.options import AsJson
from hokusai_core.cli.output import console, messages, print_json
from hokusai_core.demo.environment import check_requirements, clean_environment


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Let the server run on in the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model, kill the MLflow server meanwhile, and count what arrives (about a minute).

    Everything runs on this machine, in a temporary folder, with a journal of its own. Exit code 0:
    every count is right; 1: not.
    """
    check_requirements()
    environment = clean_environment(os.environ)
    if environment != dict(os.environ):
        # MLflow reads variables wherever it likes, so the demo runs in a process without them.
        arguments = ["demo", *(["--keep"] if keep else []), *(["--json"] if as_json else [])]
        sys.stdout.flush()
        command = [sys.executable, "-P", "-m", "hokusai_core", *arguments]
        os.execve(sys.executable, command, environment)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)

    from hokusai_core.demo.report import print_report
    from hokusai_core.demo.scenario import run_demo

    out = messages() if as_json else console()
    report = run_demo(out, keep=keep)
    if as_json:
        print_json(report.model_dump_json(indent=2))
    else:
        print_report(report, out)
    raise typer.Exit(0 if report.right else 1)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Let a request to end be seen where Ctrl-C is, so that everything started is ended."""
    raise KeyboardInterrupt
