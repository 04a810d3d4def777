"""Requests of metrics, params and tags: within MLflow's limits, nothing lost, order kept."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from hokusai_core import limits
from hokusai_core.batching import coalesce, split_batch
from hokusai_core.operations import LogBatch, MetricPoint

RUN = "a" * 32
KEYS = st.text(alphabet="abcdefgh", min_size=1, max_size=2)
VALUES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
POINTS = st.builds(
    MetricPoint,
    key=KEYS,
    value=st.floats(),
    timestamp=st.integers(0, 2**63 - 1),
    step=st.integers(0, 9),
)
BATCHES = st.lists(
    st.builds(
        LogBatch,
        run_id=st.just(RUN),
        metrics=st.lists(POINTS, max_size=4).map(tuple),
        params=st.dictionaries(KEYS, VALUES, max_size=3),
        tags=st.dictionaries(KEYS, VALUES, max_size=3),
    ),
    max_size=25,
)


def assert_within_limits(batch: LogBatch) -> None:
    counts = len(batch.metrics), len(batch.params), len(batch.tags)
    assert counts[0] <= limits.METRICS_PER_REQUEST
    assert counts[1] <= limits.PARAMS_PER_REQUEST
    assert counts[2] <= limits.TAGS_PER_REQUEST
    assert sum(counts) <= limits.ENTITIES_PER_REQUEST
    body = {
        "run_id": batch.run_id,
        "metrics": [point.model_dump(mode="json") for point in batch.metrics],
        "params": [{"key": key, "value": value} for key, value in batch.params.items()],
        "tags": [{"key": key, "value": value} for key, value in batch.tags.items()],
    }
    assert len(json.dumps(body)) <= limits.REQUEST_BYTES


def test_many_values_are_split_at_the_limits() -> None:
    points = [MetricPoint(key=f"m{n}", value=n, timestamp=n) for n in range(2500)]
    params = {f"p{n}": "x" * 5000 for n in range(250)}
    tags = {f"t{n}": "ü" * 8000 for n in range(120)}
    batches = list(split_batch(RUN, points, params, tags))
    for batch in batches:
        assert_within_limits(batch)
    assert [point for batch in batches for point in batch.metrics] == points
    assert {k: v for batch in batches for k, v in batch.params.items()} == params
    assert {k: v for batch in batches for k, v in batch.tags.items()} == tags
    assert len({batch.op_id for batch in batches}) == len(batches)


def test_nothing_makes_no_request() -> None:
    assert list(split_batch(RUN)) == []


@given(BATCHES)
def test_joined_requests_have_the_effect_of_their_members_in_order(
    batches: list[LogBatch],
) -> None:
    joined = list(coalesce(batches))
    assert sum(one.count for one in joined) == len(batches)
    rest = iter(batches)
    for one in joined:
        assert_within_limits(one.operation)
        for member in itertools.islice(rest, one.count):
            for key, value in member.params.items():
                assert one.operation.params[key] == value
    sent = [repr(point) for one in joined for point in one.operation.metrics]
    assert sent == [repr(point) for batch in batches for point in batch.metrics]
    last = {key: value for batch in batches for key, value in batch.tags.items()}
    assert {k: v for one in joined for k, v in one.operation.tags.items()} == last


def test_a_contradicting_param_begins_a_new_request() -> None:
    batches = [LogBatch(run_id=RUN, params={"lr": value}) for value in ("1", "1", "2", "2")]
    joined = list(coalesce(batches))
    assert [one.operation.params for one in joined] == [{"lr": "1"}, {"lr": "2"}]
    assert [one.count for one in joined] == [2, 2]


def test_single_metrics_go_out_a_thousand_at_a_time() -> None:
    batches = [
        LogBatch(run_id=RUN, metrics=(MetricPoint(key="m", value=n, timestamp=n),))
        for n in range(2500)
    ]
    assert [one.count for one in coalesce(batches)] == [1000, 1000, 500]
