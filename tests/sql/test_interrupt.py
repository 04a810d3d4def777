"""Ctrl-C in the middle of a statement: the transaction is over at once, not when memory is freed."""

import _thread
from pathlib import Path

import pytest
from sqlalchemy import text

from hokusai_backend_sql.engine import Database
from hokusai_core.settings import Settings


def test_an_interrupted_transaction_lets_go_of_the_write_lock(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}", Settings.load(journal_timeout=0.5))
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER)"))

    with pytest.raises(KeyboardInterrupt) as interrupt, database.begin() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (1)"))
        driver = connection.connection.driver_connection
        assert driver is not None
        # As a signal that comes while SQLite works: Python sees it when the statement returns.
        driver.create_function("interrupt", 0, _thread.interrupt_main)
        connection.execute(text("SELECT interrupt() UNION ALL SELECT 1"))

    # The traceback is alive, and with it the cursor, as in the block that ends a run as FAILED.
    assert interrupt.tb is not None
    with database.begin() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (2)"))
    with database.connect() as connection:
        assert connection.execute(text("SELECT number FROM numbers")).scalars().all() == [2]
    database.close()
