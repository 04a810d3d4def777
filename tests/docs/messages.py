"""Collects the messages of all errors from the code: ``python -m tests.docs.messages`` writes the page.

The page ``docs/reference/messages.md`` lists every text that is given to an error class where it is
made, with the parts that vary in braces.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hokusai_core import errors
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "messages.md"
PACKAGES = ("hokusai_core", "hokusai_backend_mlflow", "hokusai_backend_sql")
_NOT_FOR_USERS = ("testing", "demo")
_NAMES = frozenset(errors.__all__)
_HELPERS = {"_unavailable": "JournalUnavailableError", "known": "PermanentError"}
"""Functions and variables that make an error of a class, or of a subclass, from a text."""

_HEAD = """# Messages

<!-- Written by `python -m tests.docs.messages` from the code; edit the messages there. -->

Every message of every error, by class, for whoever searches one. What stands in braces varies.
[Errors](errors.md) says when each class is raised. Messages are for people and change between
releases; programs look at the class.

Each says what happened, and to what; where something can be done, what. Where a write was kept, no
error is raised at all; `NotStoredError` is the one that says that something was kept nowhere.
"""


@dataclass(frozen=True)
class Message:
    """One text, the class it is given to, and where: ``module:line``."""

    error: str
    text: str
    where: str


def messages() -> list[Message]:
    """Collect the messages of the three packages, in the order of the code."""
    return [message for path in modules() for message in _of(path)]


def modules() -> list[Path]:
    """Give the modules whose errors a user may meet."""
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if not set(path.relative_to(ROOT).parts) & set(_NOT_FOR_USERS)
    ]


def page_text() -> str:
    """Give the text of the page."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for message in messages():
        if message.text not in by_class[message.error]:
            by_class[message.error].append(message.text)
    parts = [_HEAD]
    for name in sorted(by_class):
        rows = "\n".join(f"- {_escaped(text)}" for text in sorted(by_class[name]))
        parts.append(f"## {name}\n\n{rows}\n")
    return "\n".join(parts)


def _of(path: Path) -> Iterator[Message]:
    where = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in (tree, *ast.walk(tree)):
        if not isinstance(function, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assigned = _assigned(function)
        for node in _own(function):
            if isinstance(node, ast.Call) and node.args and (name := _class_of(node)):
                for text in _texts(node.args[0], assigned):
                    yield Message(name, text, f"{where}:{node.lineno}")


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """Walk a function without the functions inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def _class_of(call: ast.Call) -> str:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    return name if name in _NAMES else _HELPERS.get(name, "")


def _assigned(function: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = defaultdict(list)
    for node in _own(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id].append(node.value)
    return found


def _texts(node: ast.expr, assigned: dict[str, list[ast.expr]]) -> Iterator[str]:
    if isinstance(node, ast.Name):
        for value in assigned.get(node.id, []):
            if not isinstance(value, ast.Name):
                yield from _texts(value, assigned)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, assigned)
        yield from _texts(node.orelse, assigned)
    elif isinstance(node, ast.BinOp):
        yield from (
            left + right
            for left in _texts(node.left, assigned)
            for right in _texts(node.right, assigned)
        )
    elif isinstance(node, ast.JoinedStr):
        yield "".join(_part(part) for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    names = re.findall(r"[A-Za-z]\w*", ast.unparse(part.value))
    shown = [name for name in names if name not in ("self", "repr", "str", "len", "join", "type")]
    return "{" + (shown[-1].lower() if shown else "value") + "}"


def _escaped(text: str) -> str:
    """Show a message as it is: no part of it is markup, apart from code."""
    return re.sub(r"(?<!`)([*_<>])(?!`)", r"\\\1", text) if "`" not in text else text


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")
