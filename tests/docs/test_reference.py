"""The reference pages say what the code does, and nothing is missing from them."""

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow import MlflowClient
from pydantic.fields import FieldInfo

from hokusai_core import ExperimentManager, ModelRegistry, RunHandle, errors, hookspecs
from hokusai_core.plugins import Capability
from hokusai_core.run_files import RunFiles
from hokusai_core.run_values import RunValues
from hokusai_core.settings import Settings
from tests.docs.pages import PAGES, ROOT, name_of

REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def configuration() -> dict[str, tuple[str, ...]]:
    return {row[0].strip("`"): row[1:] for row in _rows(REFERENCE / "configuration.md")}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str, configuration: dict[str, tuple[str, ...]]) -> None:
    field = Settings.model_fields[name]
    variable = Settings.variable(name)
    assert variable in configuration
    default, unit, meaning = configuration[variable]
    assert default == _shown(name, field)
    assert unit == "seconds" or field.annotation is not float
    assert meaning.endswith(".")


def test_no_setting_is_described_that_does_not_exist(
    configuration: dict[str, tuple[str, ...]],
) -> None:
    described = {name for name in configuration if name.startswith(("HOKUSAI_", "MLFLOW_"))}
    assert described == {Settings.variable(name) for name in Settings.model_fields}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_described_with_its_bases(name: str) -> None:
    error = getattr(errors, name)
    described = {row[0].strip("`"): row[1:] for row in _rows(REFERENCE / "errors.md")}
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    if error.__name__ != name:
        assert f"`{name}` is the same class as `{error.__name__}`" in text
        return
    assert described[name][0] == ", ".join(f"`{base.__name__}`" for base in error.__bases__)
    assert described[name][1]


def test_specifications_and_capabilities_are_described() -> None:
    text = (REFERENCE / "hooks.md").read_text(encoding="utf-8")
    for capability, specification in hookspecs.SPECIFICATIONS.items():
        assert f"| `{capability}` | `{specification.__name__}` |" in text
    for capability in Capability.__args__:  # type: ignore[attr-defined]
        assert f"`{capability}`" in text


def test_the_calls_of_mlflow_and_those_in_their_place_exist() -> None:
    theirs_by_name = {"mlflow": mlflow, "MlflowClient": MlflowClient}
    ours_by_name = {
        "run": RunHandle,
        "manager": ExperimentManager,
        "registry": ModelRegistry,
        "ExperimentManager": ExperimentManager,
        "ModelRegistry": ModelRegistry,
    }
    rows = list(_rows(REFERENCE / "mlflow-calls.md"))
    for theirs, in_their_place, _ in rows:
        assert _found(theirs_by_name, theirs), theirs
        for name in in_their_place.split(", "):
            assert _found(ours_by_name, name), name
    shown = {name for row in rows for name in row[1].replace("`", "").split(", ")}
    logging = {
        f"run.{name}" for name in vars(RunValues) | vars(RunFiles) if name.startswith("log_")
    }
    assert logging - shown == {"run.log_artifacts_dict"}  # which MLflow does not have


def _found(objects: dict[str, Any], name: str) -> bool:
    first, *rest = name.strip("`").split(".")
    found = objects.get(first)
    for part in rest:
        found = getattr(found, part, None)
    return found is not None


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(_leaves(navigation)) == sorted(pages)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        if anchor:
            assert anchor in _anchors(linked), target


def test_the_glossary_defines_each_word_once() -> None:
    words = [row[0] for row in _rows(REFERENCE / "glossary.md")]
    assert words == sorted(set(words))


def test_continuous_integration_calls_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    demonstrate, test = re.findall(r"^python3 -m venv .*$", readme, flags=re.MULTILINE)
    assert test in script
    assert demonstrate.rpartition(" && ")[2] in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111 == 0o111


def _rows(page: Path) -> Iterator[tuple[str, ...]]:
    """The rows of a page's tables, without their heads."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("| ") or lines[number + 1 : number + 2] == []:
            continue
        if lines[number + 1].startswith("|---"):
            continue
        yield tuple(cell.strip() for cell in line.strip("|").split("|"))


def _shown(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "the user's data folder"
    default: Any = field.get_default(call_default_factory=True)
    if default in (None, ""):
        return "not set"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:.0f}`" if default.is_integer() else f"`{default}`"
    return f"`{default.value if isinstance(default, Enum) else default}`"


def _leaves(navigation: Any) -> Iterator[str]:
    for item in navigation:
        for value in item.values():
            if isinstance(value, str):
                yield value
            else:
                yield from _leaves(value)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }
