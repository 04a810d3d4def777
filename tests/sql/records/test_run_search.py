import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from hokusai_backend_sql.records_schema import runs as runs_table
from hokusai_core.errors import InvalidInputError, UnsupportedFilterError
from hokusai_core.filters import matches, parse_filter, parse_order_by, sort_runs
from hokusai_core.operations import CreateRun, LogBatch, MetricPoint, UpdateRun
from hokusai_core.queries import RunQuery
from tests.support.filter_examples import ORDERS, TEXTS, example_runs, filters


def test_a_search_in_sql_means_what_the_filter_language_means(primary):
    runs = _stored(primary)
    experiment_ids = (runs[0].info.experiment_id,)

    @settings(max_examples=80, deadline=None)
    @given(text=filters([run.info.run_id for run in runs]), order_by=ORDERS)
    def check(text, order_by):
        query = RunQuery(experiment_ids=experiment_ids, filter_string=text, order_by=order_by)
        expected = [run for run in runs if matches(run, parse_filter(text))]
        assert _ids(_search(primary, query)) == _ids(sort_runs(expected, parse_order_by(order_by)))

    check()


def test_every_pattern_means_the_same_in_sql(primary):
    runs = _stored(primary)
    alphabet = st.sampled_from(
        ["%", "_", "a", "A", "b", "é", "É", "*", "?", "[", "]", "^", "-", "\n"]
    )

    @settings(max_examples=60, deadline=None)
    @given(
        pattern=st.text(alphabet, max_size=4) | st.sampled_from(TEXTS[:-2]),
        operator=st.sampled_from(["LIKE", "ILIKE"]),
    )
    def check(pattern, operator):
        text = f"tags.k {operator} '{pattern}'"
        query = RunQuery(experiment_ids=(runs[0].info.experiment_id,), filter_string=text)
        expected = [run for run in runs if matches(run, parse_filter(text))]
        assert set(_ids(_search(primary, query))) == set(_ids(expected))

    check()


def test_pages_follow_each_other_without_gap_or_repeat(primary):
    runs = _stored(primary)
    order_by = ("metrics.k DESC", "run_name")
    experiment_ids = (runs[0].info.experiment_id,)
    query = RunQuery(experiment_ids=experiment_ids, order_by=order_by, max_results=4)
    found, pages = [], 0
    while True:
        page = primary.tracking.tracking_search_runs(query, primary.deadline)
        found.extend(page.items)
        pages += 1
        if not page.next_page_token:
            break
        query = query.model_copy(update={"page_token": page.next_page_token})
    assert _ids(found) == _ids(sort_runs(runs, parse_order_by(order_by)))
    assert pages == 7


@pytest.mark.parametrize("token", ["x", "e30=", "WyJhIl0=", "é"])
def test_a_token_of_something_else_is_refused(primary, token):
    query = RunQuery(experiment_ids=("1",), page_token=token)
    with pytest.raises(InvalidInputError, match="page token"):
        primary.tracking.tracking_search_runs(query, primary.deadline)


def test_only_the_named_experiments_and_stages_are_searched(primary):
    first, second = primary.experiment("first"), primary.experiment("second")
    kept = primary.run(experiment_id=first)
    deleted = primary.run(experiment_id=first)
    primary.run(experiment_id=second)
    with primary.database.begin() as connection:
        connection.execute(
            update(runs_table)
            .where(runs_table.c.run_id == deleted)
            .values(lifecycle_stage="deleted")
        )

    def ids(*experiment_ids, view_type="ACTIVE_ONLY"):
        query = RunQuery(experiment_ids=experiment_ids, view_type=view_type)
        return set(_ids(_search(primary, query)))

    assert ids(first) == {kept}
    assert ids(first, view_type="DELETED_ONLY") == {deleted}
    assert ids(first, view_type="ALL") == {kept, deleted}
    assert ids() == ids("unknown") == ids("99") == set()
    assert len(ids(first, second, "99")) == 2


def test_a_filter_outside_the_language_is_refused(primary):
    query = RunQuery(experiment_ids=("1",), filter_string="params.a = 'x' OR params.b = 'y'")
    with pytest.raises(UnsupportedFilterError, match="OR params"):
        primary.tracking.tracking_search_runs(query, primary.deadline)


def _stored(primary):
    experiment_id = primary.experiment()
    stored = []
    for example in example_runs():
        info, data = example.info, example.data
        tags = data.tags | {"mlflow.user": info.user_id}
        create = CreateRun(
            experiment_id=experiment_id,
            run_name=info.run_name,
            start_time=info.start_time,
            tags=tags,
        )
        run_id = primary.write(create).primary_id
        points = tuple(
            MetricPoint(key=key, value=value, timestamp=1) for key, value in data.metrics.items()
        )
        primary.write(LogBatch(run_id=run_id, metrics=points, params=data.params))
        primary.write(UpdateRun(run_id=run_id, status=info.status, end_time=info.end_time))
        stored.append(primary.get_run(run_id))
    return stored


def _search(primary, query):
    return primary.tracking.tracking_search_runs(query, primary.deadline).items


def _ids(runs):
    return [run.info.run_id for run in runs]
