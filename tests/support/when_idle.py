"""Programs that get what nobody else wants of the processors, as if they ran on another machine."""

import os
import sys

_PROGRAM = """
import os, sys
if hasattr(os, "SCHED_IDLE"):
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
else:
    os.nice(19)
os.execv(sys.argv[1], sys.argv[1:])
"""


def when_idle(command: list[str]) -> list[str]:
    """Give a command that runs one whose first word is a path, with all its threads and children.

    Linux takes a processor on which nothing else runs for a free one, so that whoever wakes up goes
    there, and does not push aside what a benchmark measures.
    """
    return [sys.executable, "-c", _PROGRAM, *command] if hasattr(os, "nice") else command
