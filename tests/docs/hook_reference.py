"""Writes the references of hooks and clauses: ``python -m tests.docs.hook_reference``.

What stands above the marker of a page is written by hand; all below comes from the specifications and
from the contract tests.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_type_hints

from hokusai_core.hook_binding import hooks_of
from hokusai_core.hookspecs import CAPABILITIES, SPECIFICATIONS, needed_for
from hokusai_core.markers import API_VERSION
from hokusai_core.observer_hooks import ObserverHooks
from hokusai_core.plugins import BackendPlugin
from hokusai_core.testing.contracts import JournalContract, RegistryContract, TrackingContract
from hokusai_core.testing.contracts.clauses import clauses_of
from tests.docs.pages import ROOT

MARKER = "<!-- Below: python -m tests.docs.hook_reference -->"
CONTRACTS = (TrackingContract, RegistryContract, JournalContract)


def page_of(path: Path) -> str:
    """Give a whole page as it has to be."""
    by_hand, marker, _ = path.read_text(encoding="utf-8").partition(MARKER)
    assert marker, f"{path.name} has no marker"
    return by_hand + "\n".join([MARKER, "", *PAGES[path]()]).rstrip() + "\n"


def _clauses() -> Iterator[str]:
    for contract in CONTRACTS:
        yield f"## {contract.__name__}"
        yield ""
        yield "| clause | demands |"
        yield "|---|---|"
        for name, demand in clauses_of(contract).items():
            yield f"| `{name}` | {_markdown(demand)} |"
        yield ""


def _hooks() -> Iterator[str]:
    yield f"## The manifest (contract {API_VERSION[0]}.{API_VERSION[1]})"
    yield ""
    yield "| field of `BackendPlugin` | meaning |"
    yield "|---|---|"
    for name, meaning in _arguments_of(BackendPlugin):
        yield f"| `{name}` | {meaning} |"
    yield ""
    yield "## Capabilities"
    yield ""
    yield "| capability | meaning |"
    yield "|---|---|"
    for name, meaning in CAPABILITIES.items():
        yield f"| `{name}` | {meaning} |"
    for capability, specification in SPECIFICATIONS.items():
        yield ""
        yield f"## {specification.__name__}"
        yield ""
        yield from _text_of(specification)
        for name in hooks_of(specification):
            optional = sorted(needed_for(name) - {capability})
            yield from _hook(specification, name, optional)
    yield ""
    yield f"## {ObserverHooks.__name__}"
    yield ""
    yield from _text_of(ObserverHooks)
    for name in hooks_of(ObserverHooks):
        yield from _hook(ObserverHooks, name, [])


def _hook(specification: type, name: str, optional: list[str]) -> Iterator[str]:
    function = getattr(specification, name)
    hints = get_type_hints(function)
    arguments = ", ".join(
        f"{argument}: {_shown(hints[argument])}"
        for argument in list(inspect.signature(function).parameters)[1:]
    )
    yield ""
    yield f"### {name}"
    yield ""
    yield f"`({arguments}) -> {_shown(hints['return'])}`"
    yield ""
    yield from _text_of(function)
    if optional:
        yield ""
        yield f"Only where the capability `{optional[0]}` is declared."


def _arguments_of(documented: type) -> Iterator[tuple[str, str]]:
    """The arguments that a class's docstring describes, one after the other."""
    _, _, described = inspect.getdoc(documented).partition("Args:\n")  # type: ignore[union-attr]
    for argument in re.split(r"\n(?=    \w+: )", described.rstrip()):
        name, _, meaning = argument.strip().partition(": ")
        yield name, _markdown(" ".join(meaning.split()))


def _text_of(documented: object) -> Iterator[str]:
    yield from _markdown(inspect.getdoc(documented) or "").splitlines()


def _markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _shown(hint: object) -> str:
    if hint is type(None):
        return "None"
    text = (
        str(hint) if not isinstance(hint, type) or getattr(hint, "__args__", ()) else hint.__name__
    )
    if ("CreateExperiment" in text and "|" in text) or "Annotated" in text:
        return "AnyOperation"
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)


PAGES: dict[Path, Callable[[], Iterator[str]]] = {
    ROOT / "docs" / "reference" / "hooks.md": _hooks,
    ROOT / "docs" / "reference" / "contract-tests.md": _clauses,
}
"""The pages, with what gives their generated parts."""


if __name__ == "__main__":
    for each in PAGES:
        each.write_text(page_of(each), encoding="utf-8")
