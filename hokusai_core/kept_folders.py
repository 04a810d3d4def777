"""Folders of loaded models, which may open their files at any time later."""

import atexit
import os
import shutil
import weakref
from pathlib import Path


def keep_while_used(folder: Path, *users: object) -> None:
    """Remove a folder once all of its users are gone, at the end of the process at the latest.

    A forked child, which has copies of the users, leaves the folder to its parent.

    Args:
        folder: What is to be removed.
        users: Objects that need it. One that cannot be watched keeps it until the end.
    """
    process = os.getpid()
    left = set(range(len(users)))
    for number, user in enumerate(users):
        try:
            weakref.finalize(user, _let_go, folder, left, number, process)
        except TypeError:  # it has no room for a weak reference
            atexit.register(_let_go, folder, left, number, process)


def _let_go(folder: Path, left: set[int], number: int, process: int) -> None:
    left.discard(number)
    if not left and os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
