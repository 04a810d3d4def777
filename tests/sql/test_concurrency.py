"""Many workers, threads and processes, on one journal."""

import hashlib
import io
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hokusai_core.errors import NotFoundError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Claim, Entry, EntryQuery, Release
from hokusai_core.operations import ArtifactOwner, LogArtifact
from tests.sql.process import ROUNDS, STREAMS, work
from tests.sql.queueing import (
    HERE,
    append,
    claim,
    create_run,
    delivered,
    log_metric,
    op_ids,
    request,
)
from tests.support import session
from tests.support.sql_fixtures import OpenSql

THREADS = 8


@pytest.fixture
def patient(open_sql: OpenSql, database_url: str) -> Journal:
    """A journal that waits long enough for its turn on a slow machine."""
    return open_sql(database_url, journal_timeout=30).journal


def process(action: str, url: str, folder: Path) -> session.Program:
    return session.Program("-m", "tests.sql.process", action, url, str(folder))


def deliver_all(journal: Journal) -> list[tuple[str, int, list[str]]]:
    done = []
    while claims := journal.journal_claim(request()):
        for claimed in claims:
            known = [each.operation for each in claimed.operations if each.operation]
            journal.journal_settle(claimed, tuple(map(delivered, known)))
            journal.journal_release(claimed, Release())
            done.append((claimed.stream, claimed.fence, [each.op_id for each in known]))
    return done


def check_exactly_once(done: list[tuple[str, int, list[str]]], appended: int) -> None:
    fences = [(stream, fence) for stream, fence, _ in done]
    assert len(fences) == len(set(fences))
    settled = [op_id for _, _, ids in done for op_id in ids]
    assert len(settled) == len(set(settled)) == appended


def test_no_stream_is_claimed_twice(patient: Journal) -> None:
    append(patient, *(log_metric(f"r{number}") for number in range(40)))
    held: set[str] = set()
    guard = threading.Lock()

    def claim_all() -> list[Claim]:
        mine = []
        while claims := patient.journal_claim(request()):
            with guard:
                assert claims[0].stream not in held
                held.add(claims[0].stream)
            mine += claims
        return mine

    with ThreadPoolExecutor(THREADS) as threads:
        results = [each.result() for each in [threads.submit(claim_all) for _ in range(THREADS)]]
    # A worker that finds every due stream being claimed by others sees nothing due.
    assert len(held) == sum(map(len, results)) == 40


def test_threads_append_claim_and_settle_everything_once(patient: Journal) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        running = [threads.submit(work, patient, f"w{number}") for number in range(THREADS)]
        done = [part for each in running for part in each.result()]
    done += deliver_all(patient)
    check_exactly_once(done, THREADS * ROUNDS * STREAMS)
    assert patient.journal_backlog("").waiting == 0


def test_processes_append_claim_and_settle_everything_once(
    patient: Journal, database_url: str, tmp_path: Path
) -> None:
    done = []
    with (
        process("work", database_url, tmp_path) as first,
        process("work", database_url, tmp_path) as second,
    ):
        for each in (first, second):
            output, _ = each.communicate(timeout=120)
            assert each.returncode == 0
            done += [tuple(part) for part in json.loads(output)]
    done += deliver_all(patient)
    check_exactly_once(done, 2 * ROUNDS * STREAMS)


def test_one_operation_appended_by_many_is_one(patient: Journal) -> None:
    runs = [create_run(str(number)) for number in range(5)]
    metric = log_metric(runs[0].provisional_id or "")

    def append_all() -> int:
        return append(patient, *runs, metric)

    with ThreadPoolExecutor(THREADS) as threads:
        new = [each.result() for each in [threads.submit(append_all) for _ in range(THREADS)]]
    assert sum(new) == 6
    assert patient.journal_backlog("").waiting == 6
    assert patient.journal_unsettled((metric.stream,)) == 2


def test_appends_and_settlements_of_many_streams_do_not_block_each_other(
    patient: Journal,
) -> None:
    runs = [create_run(str(number)) for number in range(10)]
    append(patient, *runs)

    def append_some() -> None:
        for _ in range(5):
            append(patient, *(log_metric(run.provisional_id or "") for run in reversed(runs)))

    with ThreadPoolExecutor(THREADS) as threads:
        running = [threads.submit(append_some) for _ in range(4)]
        working = [threads.submit(deliver_all, patient) for _ in range(4)]
        done = [part for each in working for part in each.result()]
        for each in running:
            each.result()
    done += deliver_all(patient)
    check_exactly_once(done, 10 + 4 * 5 * 10)


def test_equal_contents_are_appended_and_settled_at_once(patient: Journal) -> None:
    data = b"the same in every file"
    digest = hashlib.sha256(data).hexdigest()

    def append_files() -> None:
        for number in range(20):
            artifact = LogArtifact(
                run_id="a",
                owner=ArtifactOwner(kind="run", id="a"),
                path=f"{number}",
                size=len(data),
                sha256=digest,
            )
            entry = Entry(operation=artifact, destination=HERE)
            patient.journal_append((entry,), lambda: io.BytesIO(data))

    with ThreadPoolExecutor(THREADS) as threads:
        running = [threads.submit(append_files) for _ in range(4)]
        done = []
        while not all(each.done() for each in running):
            done += deliver_all(patient)
        for each in running:
            each.result()
    done += deliver_all(patient)
    check_exactly_once(done, 80)
    with pytest.raises(NotFoundError):
        patient.journal_open_content(done[0][2][0])


def test_a_process_killed_within_a_transaction_leaves_nothing(
    patient: Journal, database_url: str, tmp_path: Path
) -> None:
    assert patient.journal_read(EntryQuery()) == ()
    with process("hang", database_url, tmp_path) as hanging:
        assert hanging.stdout is not None
        assert hanging.stdout.readline() == "inside\n"
        hanging.send_signal(signal.SIGKILL)
        hanging.wait(timeout=30)
    assert patient.journal_read(EntryQuery()) == ()
    append(patient, metric := log_metric("a"))
    assert op_ids(claim(patient)) == [metric.op_id]


def test_processes_that_start_at_once_create_the_tables_once(
    empty_database_url: str, tmp_path: Path
) -> None:
    with (
        process("create", empty_database_url, tmp_path) as first,
        process("create", empty_database_url, tmp_path) as second,
    ):
        for each in (first, second):
            output, _ = each.communicate(timeout=120)
            assert (output, each.returncode) == ("0\n", 0)


@pytest.mark.parametrize("told", [True, False], ids=["told", "finds out"])
def test_a_forked_child_gets_connections_of_its_own(patient: Journal, told: bool) -> None:
    append(patient, log_metric("parent"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if told:
                patient.journal_reset_after_fork()
            append(patient, log_metric("child"))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    append(patient, log_metric("parent", 2))
    assert patient.journal_unsettled(("run/child", "run/parent")) == 3
