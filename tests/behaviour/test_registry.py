"""The model registry: the same on every backend."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from hokusai_core import (
    AlreadyExistsError,
    InvalidInputError,
    ModelNotFoundError,
    ModelRegistry,
    NotFoundError,
    RegistryException,
)
from tests.behaviour.stack import Stack

X, Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(X, Y)


class OldStyleModel:
    """A model object as existing Hokusai code has it."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        self.version = "2.1.0"

    def get_metrics(self) -> dict[str, float]:
        return {"accuracy": 0.9, "auroc": np.float64(0.95)}


def test_a_model_object_is_registered_loaded_and_predicts_the_same(
    stack: Stack, model: LogisticRegression
) -> None:
    registry, name = stack.registry(), stack.model_name()
    entry = registry.register_baseline(model=model, model_type=name, metadata={"dataset": "iris"})
    assert entry["model_id"] == entry.model_id
    assert (entry.model_type, entry.mlflow_version, entry.is_baseline) == (name, "1", True)
    assert entry.sync_state == "delivered"
    assert entry.run_id
    version = registry.get_model_version(name, 1)
    assert version.run_id == entry.run_id
    assert version.tags["is_baseline"] == "true"
    assert version.tags["metadata"] == '{"dataset": "iris"}'
    assert version.description == f"Baseline model {entry.model_id}"
    loaded = registry.load_model(f"models:/{name}/1")
    assert (loaded.predict(X) == model.predict(X)).all()
    assert registry.get_model_by_id(entry.model_id).mlflow_version == "1"


def test_an_old_style_model_object_is_registered_with_what_it_tells(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    model_id = f"{name}/old 'quoted\" 🚀"
    entry = registry.register_baseline(model=OldStyleModel(model_id), model_name=name)
    assert (entry.model_id, entry.version) == (model_id, "2.1.0")
    assert entry.metrics == {"accuracy": 0.9, "auroc": 0.95}
    assert registry.get_model_by_id(model_id).name == name
    with pytest.raises(AlreadyExistsError, match="registered already"):
        registry.register_baseline(model=OldStyleModel(model_id), model_name=name)
    assert len(registry.search_model_versions(name)) == 1


def test_a_runs_model_is_registered_by_what_log_model_returned_or_its_uri(
    stack: Stack, model: LogisticRegression
) -> None:
    registry, name = stack.registry(), stack.model_name()
    with stack.manager().start_run() as run:
        logged = run.log_model(model, "classifier")
        also = run.log_model(model, "other", registered_model_name=name)
    assert also.registered_model_version == "1"
    second = registry.register_model(logged, name, tags={"from": "info"})
    third = registry.register_model(logged.model_uri, name, tags={"from": "uri"})
    assert (second.version, third.version) == ("2", "3")
    assert {second.run_id, third.run_id} == {run.run_id}
    for uri in (logged.model_uri, f"models:/{name}/3"):
        assert (registry.load_model(uri).predict(X) == model.predict(X)).all()


def test_a_saved_folder_and_a_runs_artifact_are_registered(
    stack: Stack, model: LogisticRegression, tmp_path: Path
) -> None:
    registry, name = stack.registry(), stack.model_name()
    with stack.manager().start_run() as run:
        logged = run.log_model(model)
        folder = registry.download_model(logged.model_uri, tmp_path / "saved")
        run.log_artifacts(folder, "as_artifacts")
    first = registry.register_model(str(folder), name)
    second = registry.register_model(f"runs:/{run.run_id}/as_artifacts", name)
    assert (first.version, second.version) == ("1", "2")
    assert second.run_id == run.run_id
    for number in (1, 2):
        loaded = registry.load_model(f"models:/{name}/{number}")
        assert (loaded.predict(X) == model.predict(X)).all()


def test_aliases_and_tags(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    for number in range(2):
        registry.register_baseline(
            model=OldStyleModel(f"{name}/{number}"), model_type=name, tags={"n": number}
        )
    registry.set_alias(name, "production", 1)
    assert registry.get_model_version_by_alias(name, "production").version == "1"
    registry.set_alias(name, "production", "2")
    assert registry.get_model_version_by_alias(name, "production").version == "2"
    assert registry.get_registered_model(name).aliases == {"production": "2"}
    assert registry.get_model_version(name, 2).aliases == ("production",)
    registry.delete_alias(name, "production")
    registry.delete_alias(name, "production")
    with pytest.raises(ModelNotFoundError, match="production"):
        registry.get_model_version_by_alias(name, "production")
    registry.set_model_version_tags(name, 1, {"stage": 'o\'ld "x" 🚀', "n": 7})
    assert registry.get_model_version(name, 1).tags["stage"] == 'o\'ld "x" 🚀'
    registry.set_registered_model_tags(name, {"owner": "me"})
    assert registry.get_registered_model(name).tags["owner"] == "me"
    found = registry.search_model_versions(name, tags={"stage": 'o\'ld "x" 🚀'})
    assert [version.version for version in found] == ["1"]
    assert [version.version for version in registry.search_model_versions(name)] == ["2", "1"]
    assert [one.name for one in registry.list_registered_models(name)] == [name]


def test_what_is_not_there_is_not_found(stack: Stack) -> None:
    registry = stack.registry()
    for look_up in (
        lambda: registry.get_model_version("no such model", 1),
        lambda: registry.get_registered_model("no such model"),
        lambda: registry.get_model_version_by_alias("no such model", "production"),
        lambda: registry.get_model_by_id("no such id"),
        lambda: registry.load_model("models:/no such model/1"),
    ):
        with pytest.raises(ModelNotFoundError) as missing:
            look_up()
        assert isinstance(missing.value, RegistryException)
    with pytest.raises(NotFoundError):
        registry.load_model("models:/m-0123456789abcdef0123456789abcdef")


BAD_CALLS: list[tuple[str, Callable[[ModelRegistry, str], Any]]] = [
    ("no model", lambda r, name: r.register_baseline(model_type=name)),
    ("no type", lambda r, name: r.register_baseline(model=OldStyleModel(name))),
    (
        "two different types",
        lambda r, name: r.register_baseline(OldStyleModel("a"), name, f"{name} y"),
    ),
    ("slash", lambda r, name: r.register_baseline(OldStyleModel("a"), f"{name}/b")),
    ("not savable", lambda r, name: r.register_model(object(), name)),
    ("not a URI", lambda r, name: r.register_model("no uri", name)),
    ("no version", lambda r, name: r.register_model(f"models:/{name}", name)),
    ("traversal", lambda r, name: r.register_model("runs:/abc/../x", name)),
    ("long name", lambda r, name: r.register_model(OldStyleModel("a"), name.ljust(257, "n"))),
    (
        "long tag",
        lambda r, name: r.register_model(OldStyleModel("a"), name, tags={"k": "v" * 100_001}),
    ),
    ("empty key", lambda r, name: r.register_model(OldStyleModel("a"), name, tags={"": "v"})),
    (
        "long description",
        lambda r, name: r.register_model(OldStyleModel("a"), name, description="d" * 5001),
    ),
    ("option", lambda r, name: r.register_model(OldStyleModel("a"), name, nonsense=1)),
    ("reserved alias", lambda r, name: r.set_alias(name, "latest", 1)),
    ("alias with a space", lambda r, name: r.set_alias(name, "a b", 1)),
    ("version zero", lambda r, name: r.set_alias(name, "a", "0")),
    ("surrogate", lambda r, name: r.set_model_version_tags(name, 1, {"k": "\ud800"})),
    ("colon", lambda r, name: r.get_model_version(f"{name}:y", 1)),
]


def test_bad_input_is_refused_at_the_call(stack: Stack) -> None:
    registry, model_name = stack.registry(), stack.model_name()
    accepted = []
    for what, call in BAD_CALLS:
        with contextlib.suppress(InvalidInputError):
            call(registry, model_name)
            accepted.append(what)
    assert accepted == []
    # Other tests register models on the same server meanwhile.
    models = registry.list_registered_models()
    assert [model.name for model in models if model.name.startswith(model_name)] == []
