"""What the tests run in processes of their own: ``python -m tests.sql.process ACTION URL FOLDER``."""

import json
import sys
import threading
from pathlib import Path

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.entries import append as append_entries
from hokusai_core.backends import open_backend
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry, Release
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from tests.sql.queueing import HERE, append, delivered, log_metric, request

STREAMS, ROUNDS = 4, 8


def work(journal: Journal, worker: str) -> list[tuple[str, int, list[str]]]:
    """Append to the common streams and deliver what can be claimed; give what was settled."""
    done = []
    for number in range(ROUNDS):
        append(journal, *(log_metric(f"shared-{stream}", number) for stream in range(STREAMS)))
        for claimed in journal.journal_claim(request(worker=worker)):
            known = [each.operation for each in claimed.operations if each.operation]
            journal.journal_renew(claimed)
            journal.journal_settle(claimed, tuple(map(delivered, known)))
            journal.journal_release(claimed, Release())
            done.append((claimed.stream, claimed.fence, [each.op_id for each in known]))
    return done


def main(action: str, url: str, folder: str) -> None:
    settings = Settings.load(database_url=url, data_dir=Path(folder), journal_timeout=30)
    if action == "work":
        journal = open_backend("sql", BackendConfig(settings=settings, role="journal")).journal
        print(json.dumps(work(journal, "process")), flush=True)
        journal.journal_close()
    elif action == "create":
        journal = open_backend("sql", BackendConfig(settings=settings, role="journal")).journal
        print(journal.journal_backlog("").waiting, flush=True)
        journal.journal_close()
    elif action == "upgrade":
        journal = open_backend("sql", BackendConfig(settings=settings, role="journal")).journal
        print(journal.journal_upgrade(), flush=True)
        journal.journal_close()
    elif action == "hang":
        entry = Entry(operation=log_metric("a"), destination=HERE)
        with Database(url, settings).begin() as connection:
            append_entries(connection, [entry], None, None)
            print("inside", flush=True)
            threading.Event().wait(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
