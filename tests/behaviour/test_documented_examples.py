"""The three examples of the old documentation that failed there: in health and in an outage."""

import contextlib
from collections.abc import Callable

import pytest
from sklearn.linear_model import LogisticRegression

from hokusai_core.identifiers import is_provisional
from tests.behaviour.stack import Stack

FEATURES, LABELS = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
DATA = {
    "features": FEATURES,
    "labels": LABELS,
    "metadata": {"dataset_hash": "abc123", "contributor_id": "anna"},
}


@pytest.mark.parametrize("away", [False, True], ids=["health", "outage"])
@pytest.mark.parametrize("kind", ["mock", "mlflow-sqlite"])
def test_the_documented_examples(make_stack: Callable[[str], Stack], kind: str, away: bool) -> None:
    stack = make_stack(kind)
    registry, manager, name = stack.registry(), stack.manager(), stack.model_name()
    model = LogisticRegression().fit(FEATURES, LABELS)
    with stack.outage() if away else contextlib.nullcontext():
        entry = registry.register_baseline(model=model, model_type=name)
        assert entry["model_id"] == entry.model_id
        assert entry["sync_state"] == ("pending" if away else "delivered")
        assert entry["mlflow_version"] == ("" if away else "1")
        assert list(registry.load_model(entry.model_uri).predict(FEATURES)) == LABELS
        with manager.start_experiment(f"{stack.name} improvements") as outer:
            run_id = manager.create_improvement_experiment(entry["model_id"], DATA)
        assert is_provisional(run_id) is away
        found = manager.get_run(run_id)
        assert found.data.params["baseline_model_id"] == entry["model_id"]
        assert found.data.params["contributed_data_hash"] == "abc123"
        assert found.data.tags["contributor_id"] == "anna"
    assert entry.wait(60)["mlflow_version"] == "1"
    outer.wait(60)
    assert manager.get_run(run_id).data.params["contributed_data_size"] == "4"
