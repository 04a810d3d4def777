"""Loading models: their files stay as long as they are used, and no longer."""

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import pyfunc

from hokusai_core import (
    ExperimentManager,
    InvalidInputError,
    ModelNotFoundError,
    ModelRegistry,
    Settings,
)
from hokusai_core.testing import MockBackend
from tests.acceptance import programs
from tests.behaviour.models import MetadataModel

ROW = np.zeros((1, 1))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, empty at first."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    gc.collect()


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(backend=MockBackend(), settings=Settings.load(data_dir=tmp_path))


def left_in(folder: Path) -> list[str]:
    gc.collect()
    return [each.name for each in folder.glob("hokusai-model-*")]


@pytest.fixture
def words_model(tmp_path: Path) -> Path:
    """A saved model that opens a file of its own when it predicts."""

    with pytest.warns(UserWarning, match="type hints"):

        class Words(pyfunc.PythonModel):
            def load_context(self, context: Any) -> None:
                self.file = context.artifacts["words"]

            def predict(self, context, model_input, params=None):
                return Path(self.file).read_text(encoding="utf-8").split()

    words = tmp_path / "words.txt"
    words.write_text("a b", encoding="utf-8")
    artifacts = {"words": str(words)}
    pyfunc.save_model(
        tmp_path / "saved", python_model=Words(), artifacts=artifacts, pip_requirements=[]
    )
    return tmp_path / "saved"


def test_a_model_that_opens_its_files_later(
    registry: ModelRegistry, words_model: Path, temporary: Path
) -> None:
    registry.register_model(words_model, "words")
    loaded = registry.load_model("models:/words/1")
    second = registry.load_model("models:/words/1")
    assert loaded.predict(ROW) == second.predict(ROW) == ["a", "b"]
    assert len(left_in(temporary)) == 2
    inside = loaded.unwrap_python_model()
    del loaded, second
    assert len(left_in(temporary)) == 1
    assert inside.predict(None, ROW) == ["a", "b"]
    del inside
    assert left_in(temporary) == []


def test_nothing_is_left_of_what_cannot_be_loaded(
    registry: ModelRegistry, temporary: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    registry.register_model(broken, "broken")
    with pytest.raises(Exception, match="python_function"):
        registry.load_model("models:/broken/1")
    with pytest.raises(ModelNotFoundError):
        registry.load_model("models:/broken/2")
    assert left_in(temporary) == []


AT_THE_END = """
import os, sys
from pathlib import Path
from hokusai_core.kept_folders import keep_while_used

class Watched:
    pass

class Unwatched:
    __slots__ = ()

folders = [Path(name) for name in sys.argv[1:]]
watched = Watched()
keep_while_used(folders[0], watched)
keep_while_used(folders[1], Unwatched())
child = os.fork()
if child == 0:
    del watched
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert all(folder.is_dir() for folder in folders), "the child, or nobody's use, removed one"
"""


def test_at_the_end_of_the_process_nothing_is_left(tmp_path: Path) -> None:
    """Not at that of a forked child; nor before, for what cannot tell when it is out of use."""
    folders = [tmp_path / "watched", tmp_path / "unwatched"]
    for folder in folders:
        folder.mkdir()
    programs.run(AT_THE_END, *map(str, folders), to_the_end=True)
    assert [folder.exists() for folder in folders] == [False, False]


def test_the_error_names_the_model(registry: ModelRegistry, tmp_path: Path) -> None:
    entry = registry.register_baseline(MetadataModel("described"), "clf")
    with pytest.raises(
        InvalidInputError, match=r"^'models:/clf/1' .*'described'.* without the model"
    ):
        registry.load_model("models:/clf/1")
    manager = ExperimentManager(registry)
    with pytest.raises(InvalidInputError, match="model_id 'described'"):
        manager.compare_models("clf/1", entry.model_id, {"features": ROW, "labels": [0]})
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "a.txt").write_text("a", encoding="utf-8")
    registry.register_model(junk, "junk")
    with pytest.raises(InvalidInputError, match=r"^'models:/junk/1' .*no MLmodel file"):
        registry.load_model("models:/junk/1")
