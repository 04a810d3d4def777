"""Model objects that tell an id and metrics: whatever they tell is kept, or refused at the call."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hokusai_core import ExperimentManager, InvalidInputError, ModelRegistry, Settings
from hokusai_core.registry import REGISTRATION_EXPERIMENT
from hokusai_core.testing import MockBackend
from tests.behaviour.stack import Stack


class Told:
    """Tells what a test lets it tell."""

    version = "1.0.0"

    def __init__(self, model_id: Any, metrics: Any) -> None:
        self.model_id = model_id
        self.metrics = metrics

    def get_metrics(self) -> Any:
        return self.metrics


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(backend=MockBackend(), settings=Settings.load(data_dir=tmp_path))


def test_metrics_that_are_no_numbers_are_kept_as_json_only(stack: Stack, tmp_path: Path) -> None:
    registry, name = stack.registry(), stack.model_name()
    told = {"accuracy": np.float32(0.5), "per_class": {"a": 0.1}, "grade": "high", "none": None}
    entry = registry.register_baseline(Told(f"{name} 1", told), name)
    kept = told | {"accuracy": 0.5}
    assert entry.metrics == kept
    assert json.loads(entry.tags["metrics"]) == kept
    run = stack.manager().get_run(entry.run_id)
    assert run.data.metrics == {"accuracy": 0.5}
    folder = registry.download_model(f"models:/{name}/1", tmp_path / "files")
    described = json.loads((folder / "hokusai_model.json").read_text(encoding="utf-8"))
    assert described["metrics"] == kept


def test_an_object_without_metrics_or_id(registry: ModelRegistry, tmp_path: Path) -> None:
    first = registry.register_baseline(Told(None, None), "clf")
    second = registry.register_baseline(Told(None, None), "clf")
    assert first.metrics == {}
    assert first.model_id.startswith("clf-")
    assert first.model_id != second.model_id
    folder = registry.download_model("models:/clf/1", tmp_path / "files")
    described = json.loads((folder / "hokusai_model.json").read_text(encoding="utf-8"))
    assert (described["model_id"], described["metrics"]) == ("", {})


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["accuracy"], "get_metrics.. of a Told gives must be a dict"),
        (0.5, "get_metrics.. of a Told gives must be a dict"),
        ({"accuracy": object()}, "JSON"),
        ({"accuracy": {"a": {1, 2}}}, "JSON"),
        ({"precision@5": 0.5}, "precision@5"),
        ({5: 0.5}, "must be a string"),
    ],
)
def test_metrics_that_cannot_be_kept_are_refused_before_anything_is_written(
    registry: ModelRegistry, metrics: Any, message: str
) -> None:
    for register in (registry.register_baseline, registry.register_model):
        with pytest.raises(InvalidInputError, match=message):
            register(Told("mine", metrics), "clf")
    assert registry.list_registered_models() == []
    manager = ExperimentManager(registry, experiment_name=REGISTRATION_EXPERIMENT)
    assert list(manager.search_runs()) == []


@pytest.mark.parametrize("given", ["a" * 5000, Path("a" * 5000), "a/" * 3000, "~\0", Path("~\0")])
def test_what_cannot_be_the_name_of_a_folder(registry: ModelRegistry, given: Any) -> None:
    with pytest.raises(InvalidInputError, match="folder") as caught:
        registry.register_model(given, "clf")
    assert len(str(caught.value)) < 400
    assert registry.list_registered_models() == []


def test_a_folder_that_cannot_be_read_to_the_end(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="cannot be read to the end"):
        registry.register_model(folder, "clf")
    assert registry.list_registered_models() == []
