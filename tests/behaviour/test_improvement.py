"""Improvement experiments, comparisons and their history: the same on every backend."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from hokusai_core import (
    ExperimentManager,
    InvalidInputError,
    ModelComparison,
    ModelNotFoundError,
    RunHandle,
    UnavailableError,
)
from hokusai_core.identifiers import is_provisional
from hokusai_core.model_files import save_model
from tests.behaviour.stack import Stack
from tests.support.waiting import wait_for

X, Y = load_breast_cancer(return_X_y=True)
TEST_DATA = {"features": X[300:], "labels": Y[300:], "dataset_name": "hold-out"}
METRICS = ("accuracy", "auroc", "f1_score", "precision", "recall")


@pytest.fixture(scope="module")
def weak() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=1).fit(X[:300], Y[:300])


@pytest.fixture(scope="module")
def strong() -> LogisticRegression:
    return LogisticRegression(max_iter=5000).fit(X[:300], Y[:300])


@pytest.fixture(scope="module")
def weak_folder(weak: DecisionTreeClassifier, tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(weak, tmp_path_factory)


@pytest.fixture(scope="module")
def strong_folder(strong: LogisticRegression, tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(strong, tmp_path_factory)


def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model saved once: saving it with each registration would take most of the tests' time."""
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(model, folder)
    return str(folder)


def check_comparison(
    result: ModelComparison, weak: DecisionTreeClassifier, strong: LogisticRegression
) -> None:
    """The numbers are those of scikit-learn on the models themselves."""
    for side, model in (("baseline_metrics", weak), ("candidate_metrics", strong)):
        assert list(result[side]) == list(METRICS)
        predicted = model.predict(X[300:])
        scores = model.predict_proba(X[300:])[:, 1]
        assert result[side]["accuracy"] == pytest.approx(accuracy_score(Y[300:], predicted))
        assert result[side]["auroc"] == pytest.approx(roc_auc_score(Y[300:], scores))
    for name in METRICS:
        change = result["candidate_metrics"][name] - result["baseline_metrics"][name]
        assert result["improvements"][name] == pytest.approx(change)
        assert result["comparison"][name] == {"delta": pytest.approx(change), "improved": True}
        ends = result["intervals"][name]
        assert ends["low"] <= change <= ends["high"]
    assert result["recommendation"] == "ACCEPT"
    assert result["test_dataset"] == "hold-out"
    assert result["undefined"] == {}


def check_run(stack: Stack, result: ModelComparison, baseline: str) -> None:
    """The run holds the figures under the names that existing readers look for."""
    run = stack.manager().get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    expected = {f"{name}_improvement": result["improvements"][name] for name in METRICS}
    for name in METRICS:
        expected[f"baseline_{name}"] = result["baseline_metrics"][name]
        expected[f"candidate_{name}"] = result["candidate_metrics"][name]
    assert run.data.metrics == pytest.approx(expected)
    assert run.data.params["baseline_model_id"] == baseline
    assert run.data.tags["baseline_model"] == baseline
    assert run.data.tags["recommendation"] == "ACCEPT"
    assert json.loads(run.data.tags["improvement_intervals"]) == result["intervals"]


def test_an_improvement_is_written_compared_and_found_in_the_history(
    stack: Stack,
    weak: DecisionTreeClassifier,
    strong: LogisticRegression,
    weak_folder: str,
    strong_folder: str,
) -> None:
    registry, manager, name = stack.registry(), stack.manager(), stack.model_name()
    baseline = registry.register_baseline(model=weak_folder, model_type=name)
    candidate = registry.register_baseline(model=strong_folder, model_type=name)
    registry.set_alias(name, "challenger", candidate.mlflow_version)
    experiment = manager.create_improvement_experiment(
        f"{name}/1",
        {
            "features": X[:20],
            "labels": Y[:20],
            "metadata": {"dataset_hash": "abc", "contributor_id": "0x1"},
        },
    )
    written = manager.get_run(experiment)
    assert written.info.status == "FINISHED"
    created_at = written.data.params.pop("created_at")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds()) < 600
    assert written.data.params == {
        "baseline_model_id": f"{name}/1",
        "contributed_data_hash": "abc",
        "contributed_data_size": "20",
        "experiment_type": "model_improvement",
    }
    tags = ("experiment_type", "baseline_model", "contributor_id")
    assert [written.data.tags[tag] for tag in tags] == ["model_improvement", f"{name}/1", "0x1"]

    result = manager.compare_models(f"{name}/1", f"{name}@challenger", TEST_DATA)
    assert (result["baseline_id"], result["candidate_id"]) == (f"{name}/1", f"{name}@challenger")
    assert result.sync_state == "delivered"
    check_comparison(result, weak, strong)
    check_run(stack, result, f"{name}/1")

    again = manager.compare_models(
        baseline.model_id, f"models:/{name}/2", TEST_DATA, metrics=["accuracy"], resamples=0
    )
    assert list(again["improvements"]) == ["accuracy"]
    assert again["recommendation"] == "REVIEW"

    history = manager.get_experiment_history()
    assert [entry["run_id"] for entry in history] == [again.run_id, result.run_id, experiment]
    assert [entry["recommendation"] for entry in history] == ["REVIEW", "ACCEPT", "unknown"]
    assert history[1]["improvement"] == pytest.approx(result["improvements"]["accuracy"])
    assert history[1]["improvements"] == pytest.approx(dict(result["improvements"]))
    assert (history[2]["improvement"], history[2]["improvements"]) == (None, {})
    assert history[0]["timestamp"] >= history[1]["timestamp"] >= history[2]["timestamp"]
    assert history[0]["timestamp"].tzinfo is UTC
    own = manager.get_experiment_history(f"{name}/1")
    assert [entry["run_id"] for entry in own] == [result.run_id, experiment]
    assert manager.get_experiment_history(baseline.model_id) == [history[0]]
    assert manager.get_experiment_history("nobody's") == []


def test_in_an_outage_what_waits_is_compared_and_arrives(
    failing: Stack,
    weak: DecisionTreeClassifier,
    strong: LogisticRegression,
    weak_folder: str,
    strong_folder: str,
) -> None:
    registry, manager, name = failing.registry(), failing.manager(), failing.model_name()
    away = failing.model_name()
    registry.register_baseline(model=weak_folder, model_type=away)
    with failing.outage():
        baseline = registry.register_baseline(model=weak_folder, model_type=name)
        candidate = registry.register_baseline(model=strong_folder, model_type=name)
        experiment = manager.create_improvement_experiment(baseline.model_id, {"features": X[:20]})
        result = manager.compare_models(baseline.model_id, candidate.model_uri, TEST_DATA)
        check_comparison(result, weak, strong)
        assert is_provisional(result.run_id)
        assert result.sync_state == "pending"
        check_run(failing, result, baseline.model_id)
        history = manager.get_experiment_history(baseline.model_id)
        assert [entry["run_id"] for entry in history] == [result.run_id, experiment]
        assert history[0]["recommendation"] == "ACCEPT"
        with pytest.raises(UnavailableError, match="away"):
            manager.compare_models(f"{away}/1", candidate.model_id, TEST_DATA)
        assert len(manager.get_experiment_history()) == 2
    assert wait_for(lambda: registry.runtime.waiting() == 0, 30.0)
    check_run(failing, result, baseline.model_id)
    history = manager.get_experiment_history(baseline.model_id)
    assert [entry["recommendation"] for entry in history] == ["ACCEPT", "unknown"]
    assert not any(is_provisional(entry["run_id"]) for entry in history)
    assert manager.get_run(experiment).data.params["contributed_data_hash"] == "unknown"


BAD_CALLS: list[tuple[str, Callable[[ExperimentManager], Any]]] = [
    ("no id", lambda m: m.create_improvement_experiment("", {"features": [1]})),
    ("no features", lambda m: m.create_improvement_experiment("a/1", {})),
    ("no dict", lambda m: m.create_improvement_experiment("a/1", [1])),  # type: ignore[arg-type]
    ("no rows", lambda m: m.create_improvement_experiment("a/1", {"features": 3})),
    (
        "more labels",
        lambda m: m.create_improvement_experiment("a/1", {"features": [1], "labels": [1, 2]}),
    ),
    (
        "metadata no dict",
        lambda m: m.create_improvement_experiment("a/1", {"features": [1], "metadata": "x"}),
    ),
    ("no candidate", lambda m: m.compare_models("a/1", "", TEST_DATA)),
    ("candidate no text", lambda m: m.compare_models("a/1", 2, TEST_DATA)),  # type: ignore[arg-type]
    ("no labels", lambda m: m.compare_models("a/1", "a/2", {"features": X})),
    ("no data", lambda m: m.compare_models("a/1", "a/2", None)),  # type: ignore[arg-type]
    ("lengths", lambda m: m.compare_models("a/1", "a/2", {"features": X, "labels": Y[:5]})),
    ("blank id", lambda m: m.get_experiment_history(" ")),
    ("no active run", lambda m: m.log_artifacts_dict({"a": __file__})),
]


def test_bad_input_is_refused_and_writes_nothing(stack: Stack) -> None:
    manager = stack.manager()
    accepted = []
    for name, call in BAD_CALLS:
        try:
            call(manager)
        except InvalidInputError as refused:
            assert isinstance(refused, ValueError)
        else:
            accepted.append(name)
    assert accepted == []
    assert manager.search_runs() == []


def test_a_comparison_that_fails_writes_nothing(
    make_stack: Callable[[str], Stack], strong_folder: str
) -> None:
    stack = make_stack("mock")
    manager, name = stack.manager(), stack.model_name()
    stack.registry().register_baseline(model=strong_folder, model_type=name)
    with pytest.raises(ModelNotFoundError, match="no such model"):
        manager.compare_models(f"{name}/1", "no such model", TEST_DATA)
    with pytest.raises(ModelNotFoundError, match=f"{name}/2"):
        manager.compare_models(f"{name}/1", f"{name}/2", TEST_DATA)
    with pytest.raises(InvalidInputError, match=f"{name}/1.*features"):
        manager.compare_models(f"{name}/1", f"{name}/1", {"features": X[:, :3], "labels": Y})
    with pytest.raises(InvalidInputError, match="accurate"):
        manager.compare_models(f"{name}/1", f"{name}/1", TEST_DATA, metrics=["accurate"])
    assert manager.search_runs() == []


def test_models_of_any_kind_are_compared(make_stack: Callable[[str], Stack]) -> None:
    """An MLflow model of one's own that gives a list, beside one that gives a DataFrame."""
    import mlflow.pyfunc

    class AsList(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return [0.9 if row[0] > 0 else 0.4 for row in np.asarray(model_input)]

    class AsFrame(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return pd.DataFrame({"label": ["good" if r[0] > 1 else "bad" for r in model_input]})

    stack = make_stack("mock")
    registry, name = stack.registry(), stack.model_name()
    for model in (AsList(), AsFrame()):
        registry.register_baseline(model=model, model_type=name)
    features = np.array([[2.0], [0.5], [-1.0], [3.0]])
    result = stack.manager().compare_models(
        f"{name}/1",
        f"{name}/2",
        {"features": features, "labels": ["good", "bad", "bad", "good"]},
    )
    assert result["baseline_metrics"]["accuracy"] == 0.75
    assert result["baseline_metrics"]["auroc"] == 0.75
    assert result["candidate_metrics"]["accuracy"] == 1.0
    assert result["undefined"] == {
        "auroc": "candidate: the model predicts labels, and this metric needs scores or "
        "probabilities"
    }
    run = stack.manager().get_run(result.run_id)
    assert "auroc_improvement" not in run.data.metrics
    assert run.data.tags["undefined_metrics"] == json.dumps(result["undefined"])
    assert "auroc is undefined: candidate" in str(result)


def test_start_experiment_wraps_what_existing_code_does_in_it(stack: Stack) -> None:
    manager, name = stack.manager(), f"{stack.name} outer"
    with manager.start_experiment(name) as run:
        assert run.info.run_id == run.run_id
        run.log_metric("m", 1.0)
        entry = stack.registry().register_baseline(
            model=f"runs:/{run.run_id}/model", model_type=stack.model_name()
        )
        experiment = manager.create_improvement_experiment(entry.model_id, {"features": [[1]]})
        with manager.start_experiment(f"{stack.name} inner") as inner:
            assert manager.active_run() is inner
        assert manager.active_run() is run
    assert manager.active_run() is None
    outer = stack.manager(name).search_runs()
    assert [(found.info.run_id, found.info.status) for found in outer] == [(run.run_id, "FINISHED")]
    assert inner.get().data.tags["mlflow.parentRunId"] == run.run_id
    assert manager.get_run(experiment).data.tags["mlflow.parentRunId"] == run.run_id
    assert [found.info.run_id for found in manager.search_runs()] == [experiment]


def test_start_experiment_ends_as_failed_and_lets_the_exception_through(stack: Stack) -> None:
    boom = RuntimeError("mine")
    manager = stack.manager()
    with pytest.raises(RuntimeError) as raised, manager.start_experiment(stack.name) as run:
        raise boom
    assert raised.value is boom
    assert run.get().info.status == "FAILED"
    for wrong in ("", "  ", 3):
        with pytest.raises(InvalidInputError), manager.start_experiment(wrong):  # type: ignore[arg-type]
            pytest.fail("was accepted")


def test_start_experiment_redirects_neither_managers_nor_threads(stack: Stack) -> None:
    manager, other = stack.manager(), stack.manager(f"{stack.name} other")
    seen: list[RunHandle | None] = []

    def elsewhere() -> None:
        seen.append(manager.active_run())
        with manager.start_run() as own:
            seen.append(own)

    with manager.start_experiment(f"{stack.name} block") as run:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with other.start_run() as beside:
            pass
    none, own = seen
    assert none is None
    assert own is not None
    assert own.info.experiment_id != run.info.experiment_id
    assert beside.info.experiment_id not in (own.info.experiment_id, run.info.experiment_id)
    assert manager.experiment_name == stack.name
    for handle in (own, beside):
        assert "mlflow.parentRunId" not in handle.get().data.tags


def test_in_an_outage_start_experiment_goes_on(failing: Stack) -> None:
    manager = failing.manager()
    with failing.outage(), manager.start_experiment(f"{failing.name} dark") as run:
        run.log_metric("m", 2.0)
        experiment = manager.create_improvement_experiment("a/1", {"features": [[1]]})
        assert is_provisional(run.info.run_id)
    assert wait_for(lambda: manager.runtime.waiting() == 0, 30.0)
    (found,) = failing.manager(f"{failing.name} dark").search_runs()
    assert found.data.metrics == {"m": 2.0}
    child = manager.get_run(experiment)
    assert child.data.tags["mlflow.parentRunId"] == found.info.run_id


def test_a_dict_of_files_is_logged_at_once_or_not_at_all(stack: Stack, tmp_path: Path) -> None:
    manager = stack.manager()
    for folder, text in (("a", "one"), ("b", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.txt").write_text(text)
        (tmp_path / folder / "same.txt").write_text(text)
    with manager.start_run() as run:
        for wrong in (
            {"first": tmp_path / "a" / "a.txt", "second": tmp_path / "none.txt"},
            {"first": tmp_path / "a" / "same.txt", "second": tmp_path / "b" / "same.txt"},
            {"first": 3},
            [tmp_path / "a" / "a.txt"],
        ):
            with pytest.raises(InvalidInputError):
                manager.log_artifacts_dict(wrong)  # type: ignore[arg-type]
        assert run.list_artifacts() == ()
        manager.log_artifacts_dict({"plot": tmp_path / "a" / "a.txt", "data": str(tmp_path / "b")})
    listed = [entry.path for entry in run.list_artifacts()]
    assert listed == ["a.txt", "b"]


def test_any_characters_name_a_baseline(make_stack: Callable[[str], Stack]) -> None:
    manager = make_stack("mlflow-sqlite").manager()
    names = ("it's", 'say "x"', "both ' and \"", "50 % \\ 🚀", "x" * 500)
    written = {}
    for name in names:
        written[name] = manager.create_improvement_experiment(name, {"features": [[1]]})
        manager.create_improvement_experiment(f"{name}!", {"features": [[1]]})
    for name in names:
        (entry,) = manager.get_experiment_history(name)
        assert (entry["run_id"], entry["baseline_model"]) == (written[name], name)
