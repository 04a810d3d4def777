"""Values from environment variables, and a package that imports what is asked of it."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr, ValidationError

import hokusai_core
from hokusai_core.environment import EnvironmentModel
from hokusai_core.errors import ConfigurationError
from hokusai_core.settings import Settings


class Kitchen(EnvironmentModel):
    environment_prefix: ClassVar[str] = "KITCHEN_"
    environment_names: ClassVar[dict[str, str]] = {"city": "CITY"}

    ovens: int = 1
    open: bool = False
    folder: Path | None = None
    key: SecretStr | None = None
    city: str = ""


def test_variables_give_what_no_argument_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("KITCHEN_OVENS", "3"),
        ("KITCHEN_OPEN", "true"),
        ("KITCHEN_FOLDER", "/pantry"),
        ("KITCHEN_KEY", "sesame"),
        ("CITY", "Edo"),
        ("KITCHEN_CITY", "another"),
        ("KITCHEN_SIZE", "no field"),
    ):
        monkeypatch.setenv(name, value)
    kitchen = Kitchen(ovens=2)
    assert kitchen == Kitchen.model_construct(
        ovens=2, open=True, folder=Path("/pantry"), key=SecretStr("sesame"), city="Edo"
    )
    assert "sesame" not in repr(kitchen)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITCHEN_OVENS", "")
    assert Kitchen().ovens == 1
    assert "ovens" not in Kitchen().model_fields_set


def test_what_does_not_fit_is_refused_and_so_is_an_unknown_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValidationError, match="knives"):
        Kitchen.model_validate({"knives": 1})
    monkeypatch.setenv("KITCHEN_OVENS", "many")
    with pytest.raises(ValidationError, match="ovens"):
        Kitchen()


def test_a_model_that_is_made_already_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Kitchen()
    monkeypatch.setenv("KITCHEN_OVENS", "3")
    assert Kitchen.model_validate(made) is made
    assert made.model_copy(update={"open": True}).ovens == 1


@pytest.mark.parametrize(
    ("field", "variable"),
    [("attempts", "HOKUSAI_ATTEMPTS"), ("mlflow_tracking_uri", "MLFLOW_TRACKING_URI")],
)
def test_a_wrong_setting_is_told_by_its_variable(field: str, variable: str) -> None:
    assert Settings.variable(field) == variable
    with pytest.raises(ConfigurationError, match=f"{variable}: "):
        Settings.load(**{field: object()})


def test_the_package_imports_a_name_with_its_first_use() -> None:
    program = (
        "import sys, hokusai_core\n"
        "assert 'pydantic' not in sys.modules\n"
        "hokusai_core.NotStoredError\n"
        "assert 'hokusai_core.experiments' not in sys.modules\n"
        "from hokusai_core import status\n"
        "import hokusai_core.status\n"
        "assert callable(hokusai_core.status)\n"
        "hokusai_core.nothing\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1].startswith("AttributeError: ")
    assert "nothing" in done.stderr.splitlines()[-1]


def test_all_names_of_the_package_exist() -> None:
    assert "ExperimentManager" in hokusai_core.__all__
    for name in hokusai_core.__all__:
        assert getattr(hokusai_core, name) is not None
