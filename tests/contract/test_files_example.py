"""The example of a backend in the documentation keeps the contracts: its own tests, run here."""

import importlib.util
import sys
from types import ModuleType

from tests.packaging.conftest import EXAMPLE

sys.path.append(str(EXAMPLE))


def _tests_of_the_example() -> ModuleType:
    path = EXAMPLE / "tests" / "test_contracts.py"
    spec = importlib.util.spec_from_file_location("example_test_contracts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_tests = _tests_of_the_example()


class TestFilesTracking(_tests.TestTracking):  # type: ignore[name-defined, misc]
    """Experiments, runs, artifacts."""


class TestFilesRegistry(_tests.TestRegistry):  # type: ignore[name-defined, misc]
    """Models, versions, aliases."""
