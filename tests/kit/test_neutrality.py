"""The core knows no backend: it imports no driver, and decides nothing by a backend's name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

CORE = sorted((ROOT / "hokusai_core").rglob("*.py"))
NAMES = {"mlflow", "sql", "postgresql", "postgres", "sqlite", "mock", "files"}
DRIVERS = {
    "alembic",
    "boto3",
    "hokusai_backend_mlflow",
    "hokusai_backend_sql",
    "mlflow",
    "psycopg",
    "psycopg2",
    "sqlalchemy",
    "sqlite3",
}
EXEMPT = {
    # Names that the compatibility page promises: a default, and attributes that callers read.
    "settings.py": "the default backend, and what HOKUSAI_MOCK_MODE selects",
    "selected_plugins.py": "the default fallback",
    "experiments.py": "the attribute mock_mode",
    "registry.py": "the attribute client, an MlflowClient",
    # A demonstration of two backends, which is no part of the library's machinery.
    "demo": "starts an MLflow server and a database",
    "cli/database.py": "the command `hokusai db` is the SQL backend's own",
}
USES_MLFLOW = {
    # MLflow's fluent calls and its client, and the demonstration, need MLflow itself; each is asked
    # for by name, and none is the way of a write.
    "fluent.py",
    "registry.py",
    "demo",
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT / "hokusai_core").as_posix()


def _is_in(path: Path, places: set[str] | dict[str, str]) -> bool:
    name = _name(path)
    return name in places or name.partition("/")[0] in places


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_no_driver_is_imported(path: Path) -> None:
    allowed = {"mlflow"} if _is_in(path, USES_MLFLOW) else set()
    assert set(_imported(path)) & DRIVERS - allowed == set()


@pytest.mark.parametrize("path", [p for p in CORE if not _is_in(p, EXEMPT)], ids=_name)
def test_nothing_is_decided_by_the_name_of_a_backend(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"line {line}: {name!r}" for line, name in _compared(tree)] == []


def test_each_exemption_is_needed() -> None:
    for path in CORE:
        if _name(path) in USES_MLFLOW:
            assert set(_imported(path)) & DRIVERS, _name(path)


def test_the_check_sees_what_it_looks_for() -> None:
    source = "if name == 'mlflow': ...\nmatch x:\n    case 'sql': ...\nif y in ('mock', 'a'): ..."
    assert sorted(_compared(ast.parse(source))) == [(1, "mlflow"), (3, "sql"), (4, "mock")]


def _imported(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports anywhere, also by name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            for part in (part for argument in node.args[:1] for part in ast.walk(argument)):
                if isinstance(part, ast.Constant):
                    yield str(part.value).partition(".")[0]


def _compared(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names of backends that a comparison, a match or a look-up in a table decides by."""
    for node in ast.walk(tree):
        deciding: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            deciding = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            deciding = [node.value]
        elif isinstance(node, ast.Dict):
            deciding = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            deciding = list(node.args) if node.func.attr in ("startswith", "endswith") else []
        for part in deciding:
            for constant in ast.walk(part):
                if isinstance(constant, ast.Constant) and constant.value in NAMES:
                    yield constant.lineno, str(constant.value)
