"""The short way of points to the journal: the same text, the same entry, and only where it is known."""

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hokusai_core import ExperimentManager, RunHandle, Settings
from hokusai_core.batching import SURELY_FITTING_METRICS
from hokusai_core.journal import Entry
from hokusai_core.operations import (
    LogBatch,
    MetricPoint,
    begins_as_known_batch,
    dump_operation,
    load_operation,
)
from hokusai_core.packed_points import Group, Points, grouped, pack
from hokusai_core.points import PointsEntry, split_points
from hokusai_core.testing import MockBackend
from hokusai_core.testing.strategies import metric_points
from tests.support.waiting import wait_for


def raw(point: MetricPoint) -> Points:
    return (point.key,), (point.value,), point.timestamp, point.step


@given(
    points=st.lists(metric_points), run_id=st.sampled_from(["a" * 32, "hokusai-run-" + "1" * 32])
)
def test_the_packed_text_is_read_as_the_operation(points: list[MetricPoint], run_id: str) -> None:
    operation = LogBatch(run_id=run_id, metrics=tuple(points))
    text = pack(operation.op_id, operation.created_at, run_id, grouped(raw(one) for one in points))
    assert begins_as_known_batch(text)
    assert dump_operation(load_operation(text)) == dump_operation(operation)


@given(values=st.lists(st.floats(), min_size=1))
def test_the_values_of_a_call_are_read_as_in_the_operation(values: list[float]) -> None:
    keys = tuple(f"m{number}" for number in range(len(values)))
    points = (
        MetricPoint(key=key, value=value, timestamp=1, step=-3)
        for key, value in zip(keys, values, strict=True)
    )
    operation = LogBatch(run_id="r", metrics=tuple(points))
    calls = [(keys, tuple(values), 1, -3)]
    text = pack(operation.op_id, operation.created_at, "r", grouped(calls))
    assert dump_operation(load_operation(text)) == dump_operation(operation)


@pytest.mark.parametrize(
    "points",
    [
        '[[["loss"],[[0.5],[0.6]],[7],[1]]]',
        '[[["loss"],[[0.5,0.6]],[7],[1]]]',
        '[[["loss"],[[0.5]],[7]]]',
        '[[["loss"],[["x"]],[7],[1]]]',
        '{"loss":0.5}',
        "[",
    ],
)
def test_a_damaged_packed_text_is_no_operation(points: str) -> None:
    whole = pack("a" * 32, 1, "r", grouped([(("loss",), (0.5,), 7, 1)]))
    assert '[[["loss"],[[0.5]],[7],[1]]]' in whole
    with pytest.raises(ValidationError):
        load_operation(whole.replace('[[["loss"],[[0.5]],[7],[1]]]', points))


widths = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9)), min_size=1)


@given(widths=widths, most=st.integers(1, 20))
def test_parts_have_all_points_in_order_and_none_is_too_large(
    widths: list[tuple[int, int]], most: int
) -> None:
    numbers = itertools.count()
    calls = [
        (
            tuple(f"m{one}" for one in range(width)),
            tuple(float(next(numbers)) for _ in range(width)),
        )
        for width, repeats in widths
        for _ in range(repeats)
    ]
    with mock.patch.multiple(
        "hokusai_core.points", SURELY_FITTING_METRICS=1, fitting_metrics=lambda _: most
    ):
        parts = split_points([(*call, 7, step) for step, call in enumerate(calls)])
    of_parts = [[point for group in part for point in _points(group)] for part in parts]
    assert all(0 < len(points) <= most for points in of_parts)
    found = [point for points in of_parts for point in points]
    assert found == [
        (key, value, 7, step)
        for step, (keys, values) in enumerate(calls)
        for key, value in zip(keys, values, strict=True)
    ]


def _points(group: Group) -> Iterator[tuple[str, float, int, int]]:
    keys, calls, timestamps, steps = group
    for values, timestamp, step in zip(calls, timestamps, steps, strict=True):
        for key, value in zip(keys, values, strict=True):
            yield key, value, timestamp, step


@pytest.mark.parametrize("run_id", ["a" * 32, "hokusai-run-" + "1" * 32])
def test_the_entry_says_what_that_of_its_operation_says(run_id: str) -> None:
    entry = PointsEntry(run_id, grouped([(("loss",), (0.5,), 7, 1)]), "somewhere")
    usual = Entry(operation=entry.operation, destination="somewhere", fresh=True)
    said = [name for name in vars(Entry) if isinstance(vars(Entry)[name], property)]
    names = [*said, *(field.name for field in fields(Entry))]
    assert {"op_id", "payload", "plain", "requires", "stream", "operation"} <= set(names)
    for name in names:
        if name != "payload":
            assert getattr(entry, name) == getattr(usual, name), name
    assert load_operation(entry.payload) == load_operation(usual.payload)


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., tuple[MockBackend, RunHandle]]]:
    made: list[RunHandle] = []

    def make(**values: object) -> tuple[MockBackend, RunHandle]:
        settings = {
            "data_dir": tmp_path,
            "fallback": "sql",
            "exit_timeout": 0.0,
            "auto_sync": False,
        }
        mock = MockBackend()
        manager = ExperimentManager(
            "points", backend=mock, settings=Settings.load(**settings | values)
        )
        made.append(manager.start_run())
        return mock, made[-1]

    yield make
    for run in made:
        run._runtime.close_connections()


@contextmanager
def python_calls() -> Iterator[list[str]]:
    """Count the Python functions that are called in this thread."""
    called: list[str] = []

    def note(frame: object, event: str, _argument: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)  # type: ignore[attr-defined]

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(("delivery", "most"), [("direct", 52), ("queued", 13)])
def test_a_point_that_has_to_wait_builds_no_operation(
    delivery: str, most: int, make_run: Callable[..., tuple[MockBackend, RunHandle]]
) -> None:
    mock, run = make_run(delivery=delivery, durability="process", circuit_open_seconds=1000.0)
    mock.down()
    ten = {f"m{number}": 0.5 for number in range(10)}
    for step in range(2):
        run.log_metric("loss", 0.5, step=step)
        run.log_metrics(ten, step=step)
    with python_calls() as one:
        run.log_metric("loss", 0.5, step=2)
    assert len(one) <= most, one
    with python_calls() as several:
        run.log_metrics(ten, step=2)
    assert len(several) <= most, several
    assert not [name for name in (*one, *several) if "BaseModel" in name or "LogBatch" in name]


def test_after_an_outage_points_go_to_the_primary_again(
    make_run: Callable[..., tuple[MockBackend, RunHandle]],
) -> None:
    mock, run = make_run(circuit_open_seconds=0.05, circuit_open_max_seconds=0.05)
    mock.down()
    for step in range(3):
        run.log_metric("loss", 0.5, step=step)
    mock.up()
    circuit = run._runtime.circuits.primary
    assert wait_for(lambda: circuit.seconds_until_probe() == 0)
    run.log_metric("loss", 0.5, step=3)
    assert run.sync_state == "pending", "behind what waits"
    assert run._runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete
    run.log_metric("loss", 0.5, step=4)
    assert run.sync_state == "delivered"
    history = mock.store.metric_history(run.wait(), "loss")
    assert [point.step for point in history] == list(range(5))


def test_many_points_are_few_entries_within_the_limits_of_a_request(
    make_run: Callable[..., tuple[MockBackend, RunHandle]],
) -> None:
    _, run = make_run(delivery="queued", durability="process")
    for length in (3, 250):
        keys = [f"{number:0{length}d}" for number in range(2000)]
        run.log_metrics(dict.fromkeys(keys, 0.5))
        run._runtime.streams.flush()
    entries = run._runtime.run_entries(run.run_id, kinds=("log_batch",))
    assert [len(entry.operation.metrics) for entry in entries][:2] == [1000, 1000]
    assert {len(entry.operation.metrics) for entry in entries[2:-1]} == {SURELY_FITTING_METRICS}
    run.end()
    assert run._runtime.drain().run(wait_seconds=5, stop=threading.Event()).complete
    assert len(run.get().data.metrics) == 4000


@pytest.mark.parametrize("durability", ["process", "relaxed"])
def test_the_newest_value_of_a_key_is_known_whatever_the_order(
    durability: str, make_run: Callable[..., tuple[MockBackend, RunHandle]]
) -> None:
    _, run = make_run(delivery="queued", durability=durability)
    run.log_metrics({"loss": 0.5, "accuracy": 0.1}, step=5)
    run.log_metrics({"loss": 0.7, "accuracy": 0.2}, step=3)
    run.log_metric("accuracy", 0.9, step=6)
    run.log_metric("loss", 0.4, step=5)
    run._runtime.streams.flush()
    assert run.known_run().data.metrics == {"loss": 0.4, "accuracy": 0.9}
