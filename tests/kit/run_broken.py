"""Lets the kit judge every broken backend, each by the clause that it breaks: one process for all.

``python -m pytest`` does not collect this file by itself; :mod:`tests.kit.test_teeth` runs it as a
program, which prints one JSON object: by clause and backend, what pytest said.
"""

import contextlib
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.memory import MemoryStore
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from hokusai_core.testing import MemoryJournal, MockBackend
from hokusai_core.testing.contracts import JournalContract, RegistryContract, TrackingContract
from hokusai_core.testing.contracts.clauses import clause_of
from tests.kit import broken_journal, broken_registry, broken_tracking
from tests.kit.broken import BREAKS

BROKEN = (broken_journal, broken_registry, broken_tracking)
CONTRACTS: dict[str, type] = {
    "tracking": TrackingContract,
    "registry": RegistryContract,
    "journal": JournalContract,
}
_SETTINGS = Settings.load(data_dir=Path("nowhere"))


class PrimaryFixtures:
    """Opens a broken mock, or a mock with a broken store."""

    broken: type

    @pytest.fixture
    def mock(self) -> MockBackend:
        if issubclass(self.broken, MockBackend):
            return self.broken()
        mock = MockBackend()
        store = self.broken()
        assert isinstance(store, MemoryStore)
        mock.store = store
        return mock

    @pytest.fixture
    def backend(self, mock: MockBackend) -> OpenBackend:
        return open_backend(mock.plugin, BackendConfig(_SETTINGS))

    @pytest.fixture
    def cuts(self, mock: MockBackend) -> object:
        return mock.cuts


class JournalFixtures:
    """Opens a broken journal, and does not wait long for what never comes."""

    broken: type
    patience = 0.3

    @pytest.fixture
    def journal(self) -> MemoryJournal:
        journal = self.broken()
        assert isinstance(journal, MemoryJournal)
        return journal

    @pytest.fixture
    def backend(self, journal: MemoryJournal) -> OpenBackend:
        return open_backend(journal.plugin, BackendConfig(_SETTINGS, role="journal"))

    @pytest.fixture
    def cuts(self, journal: MemoryJournal) -> object:
        return journal.cuts


def suite_of(broken: type, clause: str) -> type:
    """Make the tests of one clause for one broken backend."""
    capability = clause.partition(".")[0]
    fixtures = JournalFixtures if capability == "journal" else PrimaryFixtures
    contract = CONTRACTS[capability]
    others = {
        name: None
        for name in dir(contract)
        if name.startswith("test_") and clause_of(getattr(contract, name)) != clause
    }
    return type(f"Test{broken.__name__}", (fixtures, contract), {"broken": broken, **others})


class Judge:
    """Collects the suites as a module, and notes what came of each."""

    def __init__(self) -> None:
        self.verdicts: dict[str, dict[str, list[str]]] = {}

    def pytest_pycollect_makemodule(self, module_path: Path, parent: Any) -> pytest.Module:
        judge = self

        class Module(pytest.Module):
            def _getobj(self) -> types.ModuleType:
                return judge.module()

        module: pytest.Module = Module.from_parent(parent, path=module_path)
        return module

    def module(self) -> types.ModuleType:
        module = types.ModuleType("broken_backends")
        for clause, backends in BREAKS.items():
            for broken in backends:
                suite = suite_of(broken, clause)
                suite.__module__ = module.__name__
                setattr(module, f"{suite.__name__}_{clause.replace('.', '_')}", suite)
                suite.clause = clause  # type: ignore[attr-defined]
        return module

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        properties = dict(report.user_properties)
        outcomes = self.verdicts.setdefault(str(properties["clause"]), {})
        outcomes[str(properties["broken"])] = [report.outcome, report.longreprtext]

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        suite: Any = getattr(item, "cls", None)
        item.user_properties.append(("clause", suite.clause))
        item.user_properties.append(("broken", suite.broken.__name__))


def main() -> None:
    """Run all, and print the verdicts."""
    judge = Judge()
    plugins = ("xdist", "cacheprovider", "timeout", "hypothesispytest", "faulthandler")
    options = [part for name in plugins for part in ("-p", f"no:{name}")]
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(
            [
                *options,
                "-q",
                "--tb=native",
                "-c",
                str(Path(__file__).with_name("plain.ini")),
                __file__,
            ],
            plugins=[judge],
        )
    json.dump(judge.verdicts, sys.stdout)


if __name__ == "__main__":
    main()
