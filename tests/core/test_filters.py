import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.search_utils import SearchUtils

from hokusai_core.entities import Run, RunData, RunInfo
from hokusai_core.errors import InvalidInputError, UnsupportedFilterError
from hokusai_core.filters import Condition, Order, matches, parse_filter, parse_order_by, sort_runs
from tests.support.filter_examples import ORDERS, comparisons, example_runs, filters

FIELD_OF_MLFLOW = {"attribute": "attribute", "metric": "metric", "parameter": "param", "tag": "tag"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.loss < 0.5", Condition("metric", "loss", "<", 0.5)),
        ("metric.`val loss`>=-1e-3", Condition("metric", "val loss", ">=", -0.001)),
        ('params."x-y" != "it\'s"', Condition("param", "x-y", "!=", "it's")),
        ("parameter.a.b like 'A%'", Condition("param", "a.b", "LIKE", "A%")),
        ("tags.mlflow.user ILIKE 'Ann'", Condition("tag", "mlflow.user", "ILIKE", "Ann")),
        ("status = 'RUNNING'", Condition("attribute", "status", "=", "RUNNING")),
        ("attr.status != 'FAILED'", Condition("attribute", "status", "!=", "FAILED")),
        ("`run name` = 'x'", Condition("attribute", "run_name", "=", "x")),
        ("Created > 12", Condition("attribute", "start_time", ">", 12)),
        ("run.end_time <= 1.5e3", Condition("attribute", "end_time", "<=", 1500)),
        ("run_id in ('a','b')", Condition("attribute", "run_id", "IN", ("a", "b"))),
        ("run_id  not  in ( 'a' )", Condition("attribute", "run_id", "NOT IN", ("a",))),
        ("tags.note = 'a AND b = (1)'", Condition("tag", "note", "=", "a AND b = (1)")),
    ],
)
def test_one_comparison_is_read_as_mlflow_reads_it(text, expected):
    assert parse_filter(text) == (expected,)
    assert _parsed_by_mlflow(text) == [expected]


def test_comparisons_are_joined_by_and_in_any_case():
    conditions = parse_filter(" params.a = 'x' and metrics.b > 1\nAND\ttags.c != 'y' ")
    assert [condition.key for condition in conditions] == ["a", "b", "c"]
    assert parse_filter("") == parse_filter("   ") == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("metrics.loss", "its end"),
        ("metrics.loss < '1'", "\"'1'\""),
        ("metrics.loss LIKE '1'", "LIKE"),
        ("params.a > 'x'", ">"),
        ("params.a = 1", "'1'"),
        ("params.a IS NULL", "IS NULL"),
        ("params.a = 'x' OR params.b = 'y'", "OR params.b"),
        ("(params.a = 'x')", "(params.a"),
        ("NOT params.a = 'x'", "'NOT'"),
        ("params.a = 'it''s'", "'it''s'"),
        (r"params.a = 'a\'", "backslash"),
        ("params.a = 'x", "'x"),
        ("params.a = 'x' AND", " AND"),
        ("params.a = 'x';", ";"),
        ("datasets.name = 'x'", "datasets"),
        ("flavor = 'x'", "flavor"),
        ("status IN ('RUNNING')", "IN"),
        ("run_id IN ()", ")"),
        ("run_id IN ('a'", "its end"),
        ("start_time > 99999999999999999999", "64 bits"),
        ("metrics.loss > nan", "nan"),
        ("metrics.loss > 1abc", "1abc"),
    ],
)
def test_what_is_outside_the_language_is_named(text, part):
    with pytest.raises(UnsupportedFilterError) as caught:
        parse_filter(text)
    assert part in str(caught.value)
    assert "Understood are comparisons" in str(caught.value)
    assert isinstance(caught.value, InvalidInputError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.loss", Order("metric", "loss", False)),
        ("metrics.`val loss` DESC", Order("metric", "val loss", True)),
        ("params.a asc", Order("param", "a", False)),
        ("created desc", Order("attribute", "start_time", True)),
        ("attributes.end_time", Order("attribute", "end_time", False)),
    ],
)
def test_one_order_is_read_as_mlflow_reads_it(text, expected):
    assert parse_order_by([text]) == (expected,)
    kind, key, ascending = SearchUtils.parse_order_by_for_search_runs(text)
    translated = SearchUtils.translate_key_alias(key.strip("`"))
    assert Order(FIELD_OF_MLFLOW[kind], translated, not ascending) == expected


@pytest.mark.parametrize(
    "text", ["", "loss", "metrics.a down", "metrics.a, metrics.b", "`run name`"]
)
def test_an_order_outside_the_language_is_named(text):
    with pytest.raises(UnsupportedFilterError, match="Understood are metrics"):
        parse_order_by([text])


def test_an_order_by_the_same_field_twice_is_refused():
    with pytest.raises(UnsupportedFilterError, match="twice"):
        parse_order_by(["created", "start_time DESC"])


@given(comparisons(["a" * 32, "b" * 32]))
def test_every_comparison_means_to_mlflow_what_it_means_here(text):
    assert _parsed_by_mlflow(text) == list(parse_filter(text))


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        parse_filter(text)
        parse_order_by([text])
    except UnsupportedFilterError:
        pass


def test_a_run_without_an_end_sorts_last_in_both_directions():
    runs = [
        Run(info=RunInfo(run_id=name, experiment_id="1", start_time=1, end_time=end))
        for name, end in (("a", None), ("b", 2), ("c", 3))
    ]
    ascending = sort_runs(runs, parse_order_by(["end_time"]))
    descending = sort_runs(runs, parse_order_by(["end_time DESC"]))
    assert [run.info.run_id for run in ascending] == ["b", "c", "a"]
    assert [run.info.run_id for run in descending] == ["c", "b", "a"]


@pytest.fixture(scope="module")
def mlflow_runs(tmp_path_factory):
    """A store of MLflow's own with runs of every kind of value, and the same runs as ours."""
    folder = tmp_path_factory.mktemp("mlflow")
    store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    experiment_id = store.create_experiment("filters")
    for example in example_runs():
        info, data = example.info, example.data
        run = store.create_run(
            experiment_id,
            user_id=info.user_id,
            start_time=info.start_time,
            run_name=info.run_name,
            tags=[RunTag(*pair) for pair in data.tags.items()],
        )
        run_id = run.info.run_id
        metrics = [Metric(key, value, 1, 0) for key, value in data.metrics.items()]
        store.log_batch(run_id, metrics, [Param(*pair) for pair in data.params.items()], [])
        status = RunStatus.from_string(info.status)
        store.update_run_info(run_id, status, info.end_time, None)
    found = store.search_runs([experiment_id], "", 1, max_results=100)
    yield store, experiment_id, [_converted(run) for run in found]
    store._dispose_engine()


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_runs_match_and_sort_as_in_mlflow(mlflow_runs, data):
    store, experiment_id, runs = mlflow_runs
    text = data.draw(filters([run.info.run_id for run in runs]))
    order_by = data.draw(ORDERS)

    theirs = store.search_runs([experiment_id], text, 1, max_results=100, order_by=list(order_by))
    ours = [run for run in runs if matches(run, parse_filter(text))]

    expected = [run.info.run_id for run in theirs]
    assert [run.info.run_id for run in sort_runs(ours, parse_order_by(order_by))] == expected


def _parsed_by_mlflow(text):
    conditions = []
    for each in SearchUtils.parse_search_filter(text):
        field = FIELD_OF_MLFLOW[each["type"]]
        value = float(each["value"]) if field == "metric" else each["value"]
        conditions.append(
            Condition(
                field,
                SearchUtils.translate_key_alias(each["key"]),
                " ".join(each["comparator"].upper().split()),
                tuple(value) if isinstance(value, list) else value,
            )
        )
    return conditions


def _converted(run):
    info = run.info
    return Run(
        info=RunInfo(
            run_id=info.run_id,
            experiment_id=info.experiment_id,
            run_name=info.run_name,
            status=info.status,
            start_time=info.start_time,
            end_time=info.end_time,
            artifact_uri=info.artifact_uri,
            user_id=info.user_id,
        ),
        data=RunData(metrics=run.data.metrics, params=run.data.params, tags=run.data.tags),
    )
