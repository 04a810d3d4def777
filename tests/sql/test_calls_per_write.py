"""How much work a write, a claim and a settlement are: counted, so that it cannot grow unseen."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from hokusai_backend_sql.direct_postgresql import DirectPostgresql
from hokusai_backend_sql.direct_sqlite import DirectSqlite
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal import SqlJournal
from hokusai_backend_sql.sqlite_file import WRITES
from hokusai_core import ExperimentManager, ModelRegistry, Settings
from hokusai_core.entities import Receipt
from hokusai_core.errors import JournalUnavailableError
from hokusai_core.journal import Entry, EntryQuery, Release
from hokusai_core.operations import LogBatch, MetricPoint
from hokusai_core.testing import MockBackend
from hokusai_core.versions import register_version
from tests.sql.queueing import HERE, append, claim, create_run, delivered, log_metric, op_ids


@pytest.fixture
def journal(database: Database) -> SqlJournal:
    database.upgrade()
    return SqlJournal(database)


@pytest.fixture
def statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that goes to the database, in whichever way."""
    seen: list[str] = []

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database._engine, "before_cursor_execute", note)
    for kind in (DirectSqlite, DirectPostgresql):
        run = kind.run

        def counted(self: Any, statement: str, parameters: Any, run: Any = run) -> object:
            seen.append(statement)
            return run(self, statement, parameters)

        monkeypatch.setattr(kind, "run", counted)
    yield seen
    event.remove(database._engine, "before_cursor_execute", note)


@contextmanager
def at_most(count: int, statements: list[str]) -> Iterator[None]:
    statements.clear()
    yield
    counted = [one for one in statements if not one.startswith(("PRAGMA", "BEGIN"))]
    assert len(counted) <= count, counted


def fresh(operation: LogBatch) -> tuple[Entry, ...]:
    return (Entry(operation=operation, destination=HERE, fresh=True),)


def test_a_single_metric_is_one_statement(journal: SqlJournal, statements: list[str]) -> None:
    append(journal, create_run())
    journal.journal_append(fresh(log_metric("r")), None)
    with at_most(1, statements):
        journal.journal_append(fresh(log_metric("r")), None)


def test_many_entries_are_as_many_statements_as_a_few(
    journal: SqlJournal, statements: list[str]
) -> None:
    append(journal, log_metric("r"))
    for count in (2, 500):
        with at_most(7, statements):
            append(journal, *(log_metric("r", n) for n in range(count)))


def test_claim_settle_and_release_do_not_grow_with_their_entries(
    journal: SqlJournal, statements: list[str]
) -> None:
    append(journal, log_metric("r"))
    for count in (1, 500):
        append(journal, *(log_metric(f"r{count}", n) for n in range(count)))
        journal.journal_read(EntryQuery(limit=1))
        with at_most(7, statements):
            claimed = claim(journal)
        with at_most(4, statements):
            journal.journal_settle(
                claimed, tuple(delivered(each.operation) for each in claimed.operations)
            )
        with at_most(3, statements):
            journal.journal_release(claimed, Release())


def test_a_claim_holds_texts_of_batches_and_not_their_objects(journal: SqlJournal) -> None:
    """Thousands of objects that wait would cost more time in the garbage collector than they save."""
    tagged = LogBatch(run_id="r", tags={"a": "b"})
    append(journal, *(log_metric("r", n) for n in range(5)), tagged)
    *plain, last = claim(journal).operations
    assert {type(entry.stored) for entry in plain} == {str}
    assert [entry.operation.metrics[0].value for entry in plain] == [0, 1, 2, 3, 4]
    assert last.stored == tagged


def test_a_claim_of_large_batches_is_a_few_of_them(journal: SqlJournal) -> None:
    """What a worker holds in memory is bounded by what the entries hold, not by their number."""
    large = [
        LogBatch(
            run_id="r",
            metrics=tuple(
                MetricPoint(key=f"m{n}", value=0.5, timestamp=1, step=step) for n in range(1000)
            ),
        )
        for step in range(100)
    ]
    append(journal, *large)
    first = claim(journal)
    assert 10 < len(first.operations) < 50
    assert op_ids(first) == [one.op_id for one in large[: len(first.operations)]]
    journal.journal_settle(first, tuple(delivered(one.operation) for one in first.operations))
    journal.journal_release(first, Release())
    assert op_ids(claim(journal))[0] == large[len(first.operations)].op_id


def test_a_claim_of_one_entry_above_the_bound_gives_that_entry(journal: SqlJournal) -> None:
    long = LogBatch(run_id="r", params={f"p{n}": "x" * 6000 for n in range(100)})
    append(journal, long, log_metric("r"))
    assert op_ids(claim(journal, limit=1)) == [long.op_id]


def test_single_entries_and_others_keep_one_order(journal: SqlJournal) -> None:
    operations = [log_metric("r", n) for n in range(20)]
    for number, operation in enumerate(operations):
        if number % 3:
            journal.journal_append(fresh(operation), None)
        else:
            append(journal, operation)
    wanted = [one.op_id for one in operations]
    assert [one.op_id for one in journal.journal_read(EntryQuery())] == wanted
    assert op_ids(claim(journal)) == wanted


def test_a_single_entry_waits_for_its_run_and_is_counted(journal: SqlJournal) -> None:
    creation = create_run()
    append(journal, creation)
    run_id = creation.provisional_id or ""
    metric = log_metric(run_id)
    journal.journal_append(fresh(metric), None)
    assert journal.journal_unsettled((f"run/{run_id}",)) == 2
    claimed = claim(journal)
    assert op_ids(claimed) == [creation.op_id, metric.op_id]
    settled = (delivered(creation, "primary"), delivered(metric))
    assert journal.journal_settle(claimed, settled) == 2
    assert journal.journal_unsettled((f"run/{run_id}",)) == 0


def test_an_entry_that_is_not_new_after_all_is_stored_once(journal: SqlJournal) -> None:
    metric = log_metric("r")
    append(journal, metric)
    journal.journal_append(fresh(metric), None)
    assert [one.op_id for one in journal.journal_read(EntryQuery())] == [metric.op_id]
    assert journal.journal_unsettled(("run/r",)) == 1


def test_single_entries_of_a_process_that_died_are_found(sqlite_url: str, tmp_path: Path) -> None:
    """They are in the file, whoever moves them into the table of operations."""
    first = Database(sqlite_url, Settings.load(data_dir=tmp_path, durability="process"))
    first.upgrade()
    metric = log_metric("r")
    SqlJournal(first).journal_append(fresh(metric), None)
    assert first.run_alone("SELECT count(*) FROM intake") == 1
    other = Database(sqlite_url, Settings.load(data_dir=tmp_path))
    (found,) = SqlJournal(other).journal_read(EntryQuery())
    assert found.op_id == metric.op_id
    assert first.run_alone("SELECT count(*) FROM intake") == 0
    first.close()
    other.close()


@pytest.mark.parametrize(("durability", "level"), [("machine", 2), ("process", 1), ("relaxed", 1)])
def test_a_local_file_is_synced_as_the_settings_say(
    durability: str, level: int, sqlite_url: str, tmp_path: Path
) -> None:
    """Never less than NORMAL; claims, settlements and mappings always in full."""
    settings = Settings.load(data_dir=tmp_path, durability=durability)
    database = Database(sqlite_url, settings)
    journal = SqlJournal(database)
    append(journal, create_run())
    journal.journal_append(fresh(log_metric("r")), None)
    assert database.run_alone("PRAGMA synchronous") == level
    levels: list[int] = []

    def note(connection: Any) -> None:
        if connection.get_execution_options()[WRITES]:
            levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())

    event.listen(database._engine, "commit", note)
    append(journal, log_metric("r"))
    assert set(levels) == {level}
    levels.clear()
    claimed = claim(journal)
    journal.journal_settle(claimed, (delivered(claimed.operations[0].operation, "id"),))
    journal.journal_release(claimed, Release())
    assert levels
    assert set(levels) == {2}
    database.close()


def test_requests_of_a_catch_up(tmp_path: Path) -> None:
    """A thousand single metrics of a run go out in one request, a run's whole life in three."""
    mock = MockBackend()
    manager = ExperimentManager(
        "requests",
        backend=mock,
        settings=Settings.load(
            data_dir=tmp_path,
            fallback="sql",
            delivery="queued",
            durability="process",
            auto_sync=False,
            exit_timeout=0.0,
        ),
    )
    with manager.start_run() as run:
        for step in range(900):
            run.log_metric("loss", step / 7, step=step)
    backend = manager.runtime.primary.get()
    kinds: list[str] = []
    write = backend.write

    def counted(operation: Any, deadline: Any, open_content: Any = None) -> Receipt:
        kinds.append(operation.kind)
        return write(operation, deadline, open_content)

    backend.write = counted  # type: ignore[method-assign]
    report = manager.runtime.drain().run(wait_seconds=5, stop=threading.Event())
    assert report.complete
    assert kinds == ["create_experiment", "create_run", "log_batch", "update_run"]
    manager.runtime.close_connections()


def test_registrations_ask_for_their_model_once(tmp_path: Path) -> None:
    settings = Settings.load(
        data_dir=tmp_path, fallback="sql", delivery="queued", auto_sync=False, exit_timeout=0.0
    )
    registry = ModelRegistry(backend=MockBackend(), settings=settings)
    for number in range(20):
        register_version(registry.runtime, "m", source="s3://bucket/m", tags={"n": str(number)})
    backend = registry.runtime.primary.get()
    kinds: list[str] = []
    write = backend.write

    def counted(operation: Any, deadline: Any, open_content: Any = None) -> Receipt:
        kinds.append(operation.kind)
        return write(operation, deadline, open_content)

    backend.write = counted  # type: ignore[method-assign]
    report = registry.runtime.drain().run(wait_seconds=5, stop=threading.Event())
    assert report.complete
    assert report.dead == 0
    assert kinds == ["create_registered_model", *["create_model_version"] * 20]
    registry.runtime.close_connections()


def test_a_relaxed_call_touches_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hokusai_core.group_commit.INTERVAL_SECONDS", 3600.0)
    manager = ExperimentManager(
        "relaxed",
        backend=MockBackend(),
        settings=Settings.load(
            data_dir=tmp_path,
            fallback="sql",
            delivery="queued",
            durability="relaxed",
            auto_sync=False,
            exit_timeout=0.0,
        ),
    )
    run = manager.start_run()
    calls: list[str] = []
    connect: Callable[..., Any] = DirectSqlite.run

    def counted(self: DirectSqlite, statement: str, parameters: Any) -> object:
        calls.append(statement)
        return connect(self, statement, parameters)

    monkeypatch.setattr(DirectSqlite, "run", counted)
    for step in range(1000):
        run.log_metric("loss", 0.5, step=step)
    assert calls == []
    run.end()
    # The metrics are one entry; then come the status, and the look whether something waits.
    assert sum("INSERT INTO intake" in one for one in calls) <= 2
    assert len(manager.get_metric_history(run.run_id, "loss")) == 1000
    manager.runtime.close_connections()


def test_many_single_entries_and_large_ones_keep_their_order(journal: SqlJournal) -> None:
    """More than one transaction moves, and entries too large to be written twice, in between."""
    large = {100: "x" * 6000, 400: "y" * 6000}
    operations = [
        LogBatch(run_id="r", params={f"p{k}": large[n] for k in range(20)})
        if n in large
        else log_metric("r", n)
        for n in range(600)
    ]
    for operation in operations:
        journal.journal_append(fresh(operation), None)
    assert journal.journal_unsettled(("run/r",)) == 600
    assert op_ids(claim(journal)) == [one.op_id for one in operations]


def test_a_thread_waits_for_the_write_of_another_without_asking_sqlite(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}", Settings.load(journal_timeout=0.2))
    begun: list[int] = []

    @event.listens_for(database._engine, "before_cursor_execute")
    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN IMMEDIATE"):
            begun.append(threading.get_ident())

    def write() -> int:
        with database.begin():
            return threading.get_ident()

    with ThreadPoolExecutor(1) as thread:
        with database.begin(), pytest.raises(JournalUnavailableError, match="another thread"):
            thread.submit(write).result()
        assert threading.get_ident() == begun[-1]
        with pytest.raises(KeyboardInterrupt), database.begin():
            raise KeyboardInterrupt
        assert thread.submit(write).result() == begun[-1]
    database.close()
