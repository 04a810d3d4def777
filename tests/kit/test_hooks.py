"""Each hook is documented, its documentation is that of the specification, and the kit tests it."""

import dataclasses
import inspect
import pkgutil
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from hokusai_core.hook_binding import hooks_of
from hokusai_core.hookspecs import CAPABILITIES, SPECIFICATIONS, needed_for
from hokusai_core.observer_hooks import ObserverHooks
from hokusai_core.operations import OPERATION_KINDS
from hokusai_core.plugins import BackendPlugin, Capability
from hokusai_core.testing import contracts
from tests.docs.hook_reference import PAGES, page_of
from tests.docs.pages import name_of

HOOKS = [
    (specification, name)
    for specification in SPECIFICATIONS.values()
    for name in hooks_of(specification)
]
NOT_SHARED = {"journal_reset_after_fork"}
"""Only in a forked child has it anything to do; each backend tests that with its own connections."""
MADE_BY = {"CreateRun": "new_run(", "LogArtifact": "file_of("}
KINDS = {
    f"{kind.specification}_{kind.model_fields['kind'].default}": kind for kind in OPERATION_KINDS
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_reference_is_what_the_code_says(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == page_of(page), (
        "run: python -m tests.docs.hook_reference"
    )


@pytest.mark.parametrize(
    ("specification", "hook"),
    [*HOOKS, *((ObserverHooks, name) for name in hooks_of(ObserverHooks))],
)
def test_a_hook_is_documented(specification: type, hook: str) -> None:
    text = inspect.getdoc(getattr(specification, hook)) or ""
    assert text[:1].isupper()
    assert text.rstrip().endswith(".")
    if hook in KINDS:
        words = ("harmless", "repeat", "is a success")
        assert any(word in text.lower() for word in words), "it does not say what a repeat does"
    for error in re.findall(r"\b[A-Z]\w+Error\b", text):
        assert hasattr(import_module("hokusai_core.errors"), error), error


@pytest.mark.parametrize(("specification", "hook"), HOOKS)
def test_a_hook_is_tested_by_the_kit(specification: type, hook: str) -> None:
    if hook in NOT_SHARED:
        return
    kind = KINDS[hook].__name__ if hook in KINDS else ""
    called = MADE_BY.get(kind, f"{kind}(") if kind else f"{hook}("
    assert called in _kit()


def test_names_carry_their_specification() -> None:
    for capability, specification in SPECIFICATIONS.items():
        for hook in hooks_of(specification):
            assert capability in needed_for(hook)
            assert hook.startswith(f"{capability}_")


def test_every_capability_is_described() -> None:
    assert tuple(CAPABILITIES) == get_args(Capability)


def test_every_field_of_the_manifest_is_described() -> None:
    described = re.findall(r"^    (\w+): ", inspect.getdoc(BackendPlugin) or "", flags=re.MULTILINE)
    assert set(described) == {field.name for field in dataclasses.fields(BackendPlugin)}


@cache
def _kit() -> str:
    modules = [
        import_module(f"{contracts.__name__}.{module.name}")
        for module in pkgutil.iter_modules(contracts.__path__)
    ]
    return "".join(inspect.getsource(module) for module in modules)
