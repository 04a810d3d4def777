"""A primary in a database ends each call by its deadline, well before its own waits would end."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from hokusai_backend_sql.engine import Database
from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.clock import Deadline
from hokusai_core.errors import UnavailableError
from hokusai_core.operations import CreateExperiment
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from tests.support.relay import relay_to

OpenPrimary = Callable[..., OpenBackend]
PATIENT = 60.0
SOON = 0.5
SLACK = 10.0


@pytest.fixture
def open_primary(tmp_path: Path) -> Iterator[OpenPrimary]:
    """Opens the SQL backend as a primary, and closes it after the test."""
    with ExitStack() as opened:

        def open_one(url: str, **settings: Any) -> OpenBackend:
            loaded = Settings.load(database_url=url, data_dir=tmp_path, **settings)
            backend = open_backend("sql", BackendConfig(settings=loaded, role="primary"))
            opened.callback(backend.close)
            return backend

        yield open_one


def test_a_lock_is_waited_for_no_longer_than_the_call_may_take(
    database_url: str, open_primary: OpenPrimary, tmp_path: Path
) -> None:
    primary = open_primary(database_url, journal_timeout=PATIENT)
    primary.write(CreateExperiment(name="first"), Deadline(PATIENT))
    holder = Database(database_url, Settings.load(data_dir=tmp_path))
    lock = "SELECT 1" if holder.is_sqlite else "LOCK TABLE hokusai.experiments"
    with holder.begin() as connection:
        connection.execute(text(lock))
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            primary.write(CreateExperiment(name="second"), Deadline(SOON))
        assert time.monotonic() - began < SOON + SLACK
    holder.close()
    primary.write(CreateExperiment(name="second"), Deadline(PATIENT))


def test_a_server_that_freezes_is_given_up_at_the_deadline(
    postgres_database: URL, open_primary: OpenPrimary
) -> None:
    with relay_to(postgres_database) as relay:
        url = relay.url.render_as_string(hide_password=False)
        primary = open_primary(url, journal_timeout=PATIENT)
        primary.write(CreateExperiment(name="first"), Deadline(PATIENT))
        relay.freeze()
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            primary.write(CreateExperiment(name="second"), Deadline(SOON))
        assert time.monotonic() - began < SOON + SLACK
        relay.thaw()
        primary.write(CreateExperiment(name="third"), Deadline(PATIENT))


def test_a_call_whose_time_is_over_asks_nobody(
    database_url: str, open_primary: OpenPrimary
) -> None:
    primary = open_primary(database_url)
    with pytest.raises(UnavailableError, match="No time") as caught:
        primary.write(CreateExperiment(name="late"), Deadline(0.0))
    assert not caught.value.maybe_applied
    assert primary.tracking.tracking_find_experiments(name="late", deadline=Deadline(PATIENT)) == ()
