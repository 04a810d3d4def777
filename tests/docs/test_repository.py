"""Rules of the repository as a whole."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hokusai_core
from tests.docs.pages import ROOT

PACKAGES = ("hokusai_core", "hokusai_backend_mlflow", "hokusai_backend_sql", "hokusai_pytest")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MOST_LINES = 400
HEAVY = ("mlflow", "sqlalchemy", "alembic", "psycopg", "pandas", "sklearn", "typer", "rich")

PUBLIC_NAMES = [
    "AlreadyExistsError",
    "AuthenticationError",
    "BackendBrokenError",
    "BackendError",
    "BackendNotFoundError",
    "BackendNotInstalledError",
    "ComparisonMetric",
    "ConfigurationError",
    "ConflictError",
    "DeadLetterError",
    "Experiment",
    "ExperimentConfig",
    "ExperimentManager",
    "FileInfo",
    "HokusaiError",
    "HokusaiException",
    "InvalidInputError",
    "InvalidTagsError",
    "JournalBusyError",
    "JournalUnavailableError",
    "LoggedModelInfo",
    "MLflowAuthenticationError",
    "MLflowConnectionError",
    "Metric",
    "ModelComparison",
    "ModelLineage",
    "ModelNotFoundError",
    "ModelRegistry",
    "ModelRegistryEntry",
    "ModelVersion",
    "NotDeliveredError",
    "NotFoundError",
    "NotStoredError",
    "PermanentError",
    "PermissionDeniedError",
    "QueueDetails",
    "QueueEntry",
    "RegisteredModel",
    "RegistryException",
    "RejectedError",
    "Run",
    "RunData",
    "RunHandle",
    "RunInfo",
    "Settings",
    "Status",
    "StillNeededError",
    "SyncQueue",
    "TransientError",
    "UnavailableError",
    "UnsupportedFilterError",
    "status",
]

_Described = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_public_names_are_these() -> None:
    assert list(hokusai_core.__all__) == PUBLIC_NAMES
    assert sorted(PUBLIC_NAMES) == PUBLIC_NAMES
    for name in PUBLIC_NAMES:
        assert getattr(hokusai_core, name) is not None


@pytest.mark.parametrize(
    "module",
    ["hokusai_core", "hokusai_core.testing", "hokusai_backend_mlflow.plugin"],
)
def test_an_import_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.split() == []


def test_packages_import_in_one_direction() -> None:
    """Runs the contracts of import-linter, in the place that the project's file names."""
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_everything_public_has_a_docstring() -> None:
    missing = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        described: list[tuple[str, _Described]] = [("module", tree), *_public(tree, "")]
        missing += [
            f"{_name(path)}: {name}" for name, node in described if ast.get_docstring(node) is None
        ]
    assert missing == []


def test_no_module_is_long() -> None:
    """Docstrings and empty lines do not count; a schema as it was once is history, not code."""
    lengths = {
        _name(path): _lines_of_code(path) for path in MODULES if path.parent.name != "versions"
    }
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_say_that_they_are_typed(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert (Path(module.__file__).parent / "py.typed").is_file()


def _public(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Described]]:
    """Public classes, functions and methods; overloads describe one function together."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorators = {ast.unparse(decorator) for decorator in child.decorator_list}
        if child.name.startswith("_") or "overload" in decorators:
            continue
        yield f"{prefix}{child.name}", child
        if isinstance(child, ast.ClassDef):
            yield from _public(child, f"{prefix}{child.name}.")


def _lines_of_code(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = {
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)
