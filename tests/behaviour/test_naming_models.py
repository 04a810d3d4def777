"""How models are named when they are registered and found: ids, folders, versions."""

from pathlib import Path

import pytest

from hokusai_core import AlreadyExistsError, InvalidInputError, ModelRegistry, Settings
from hokusai_core.testing import MockBackend

URI = "s3://bucket/model"


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(backend=MockBackend(), settings=Settings.load(data_dir=tmp_path))


def test_a_model_id_among_the_tags_is_the_models_id(registry: ModelRegistry) -> None:
    entry = registry.register_baseline(URI, "clf", tags={"model_id": "mine", "team": "a"})
    assert (entry.model_id, entry.tags["model_id"], entry.tags["team"]) == ("mine", "mine", "a")
    improved = registry.register_improved_model(
        URI, "mine", {"f1": 0.1}, "0x", tags={"model_id": "better"}
    )
    assert (improved.model_id, improved.baseline_id) == ("better", "mine")
    with pytest.raises(AlreadyExistsError):
        registry.register_baseline(URI, "clf", tags={"model_id": "mine"})


def test_a_model_id_given_twice(registry: ModelRegistry) -> None:
    registry.register_baseline(URI, "clf", model_id="same", tags={"model_id": "same"})
    with pytest.raises(InvalidInputError, match="'one', and as 'other' among the tags"):
        registry.register_baseline(URI, "clf", model_id="one", tags={"model_id": "other"})
    assert len(registry.list_models_by_type("clf")) == 1


@pytest.mark.parametrize("version", ["latest", "Latest", "Production", "None", "v1"])
def test_stages_and_latest_are_not_supported(registry: ModelRegistry, version: str) -> None:
    registry.register_baseline(URI, "clf")
    for call in (
        registry.load_model,
        lambda uri: registry.register_model(uri, "copy"),
    ):
        with pytest.raises(InvalidInputError, match=r"not supported.*models:/name@alias"):
            call(f"models:/clf/{version}")


@pytest.mark.parametrize("folder", ["./modle", "modle", "/no/such/modle", "~/modle"])
def test_a_folder_that_there_is_not(registry: ModelRegistry, folder: str) -> None:
    with pytest.raises(InvalidInputError, match="There is no folder"):
        registry.register_model(folder, "clf")
    with pytest.raises(InvalidInputError, match="There is no folder"):
        registry.register_baseline(folder, "clf")
    assert registry.list_registered_models() == []
