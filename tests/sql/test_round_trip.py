"""Whatever the core lets through comes back from the journal as it went in."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from hokusai_core.backends import open_backend
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry, EntryQuery
from hokusai_core.operations import (
    AnyOperation,
    CreateExperiment,
    CreateModelVersion,
    CreateRun,
    LogBatch,
    MetricPoint,
    SetAlias,
    UpdateRun,
)
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from tests.support.sql_fixtures import DATABASES

TEXT = some.text(some.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
TAGS = some.dictionaries(TEXT, TEXT, max_size=3)
INTEGERS = some.integers(-(2**63), 2**63 - 1)
POINTS = some.builds(
    MetricPoint,
    key=TEXT,
    value=some.floats(allow_nan=False),
    timestamp=some.integers(0, 2**63 - 1),
    step=INTEGERS,
)
OPERATIONS: some.SearchStrategy[AnyOperation] = some.one_of(
    some.builds(CreateExperiment, name=TEXT, tags=TAGS),
    some.builds(CreateRun, experiment_id=TEXT, run_name=TEXT, start_time=INTEGERS, tags=TAGS),
    some.builds(
        LogBatch, run_id=TEXT, metrics=some.lists(POINTS, max_size=3).map(tuple), tags=TAGS
    ),
    some.builds(UpdateRun, run_id=TEXT, status=some.sampled_from(["FINISHED", None])),
    some.builds(CreateModelVersion, name=TEXT, source=TEXT, run_id=some.none() | TEXT, tags=TAGS),
    some.builds(SetAlias, name=TEXT, alias=TEXT, version=TEXT, expected=some.none() | TEXT),
)


@pytest.fixture(scope="module", params=DATABASES)
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Journal]:
    """One journal for all examples: they do not disturb each other."""
    folder: Path = tmp_path_factory.mktemp("lasting")
    url = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        created = server.create_database()
        url = created.render_as_string(hide_password=False)
    loaded = Settings.load(database_url=url, data_dir=folder, durability="process")
    journal = open_backend("sql", BackendConfig(settings=loaded, role="journal")).journal
    yield journal
    journal.journal_close()
    if url is not None:
        server.drop_database(created)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=some.lists(OPERATIONS, min_size=1, max_size=5), destination=TEXT)
def test_an_operation_is_read_back_equal(
    lasting: Journal, operations: list[AnyOperation], destination: str
) -> None:
    entries = tuple(Entry(operation=each, destination=destination) for each in operations)
    assert lasting.journal_append(entries, None) == len(entries)
    ids = tuple(each.op_id for each in operations)
    found = lasting.journal_read(EntryQuery(op_ids=ids))
    assert [each.operation for each in found] == operations
    assert [each.stream for each in found] == [each.stream for each in operations]
    assert {each.destination for each in found} == {destination}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1 + 0.2])
def test_a_number_is_read_back_to_the_last_bit(lasting: Journal, value: float) -> None:
    batch = LogBatch(run_id="a", metrics=(MetricPoint(key="m", value=value, timestamp=1),))
    lasting.journal_append((Entry(operation=batch, destination="x"),), None)
    (found,) = lasting.journal_read(EntryQuery(op_ids=(batch.op_id,)))
    assert isinstance(found.operation, LogBatch)
    read = found.operation.metrics[0].value
    assert math.isnan(read) if math.isnan(value) else read == value
    assert math.copysign(1, read) == math.copysign(1, value)
