"""The kit has teeth: for each clause there are backends that break it, and the kit names the clause."""

import json
import subprocess
import sys

import pytest

from hokusai_core.testing.contracts.clauses import clauses_of
from tests.docs.pages import ROOT
from tests.kit.run_broken import BREAKS, CONTRACTS


@pytest.mark.parametrize("capability", CONTRACTS)
def test_every_clause_is_broken_by_a_backend(capability: str) -> None:
    clauses = clauses_of(CONTRACTS[capability])
    broken = {name for name in BREAKS if name.startswith(f"{capability}.")}
    assert set(clauses) - broken == set(), "clauses that no backend breaks"
    assert broken - set(clauses) == set(), "clauses that do not exist"


@pytest.mark.parametrize("capability", CONTRACTS)
def test_every_test_of_a_contract_names_its_clause(capability: str) -> None:
    contract = CONTRACTS[capability]
    tests = [name for name in dir(contract) if name.startswith("test_")]
    assert len(clauses_of(contract)) == len(tests)


def test_the_kit_fails_on_each_with_the_name_of_the_clause() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.kit.run_broken"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    verdicts = json.loads(result.stdout)
    expected = {name: {broken.__name__ for broken in each} for name, each in BREAKS.items()}
    assert {name: set(each) for name, each in verdicts.items()} == expected
    wrong = {
        f"{broken} against {clause}": f"{outcome}: {message}"
        for clause, backends in verdicts.items()
        for broken, (outcome, message) in backends.items()
        if outcome != "failed" or f"Broken clause {clause}: " not in message
    }
    assert not wrong, "\n\n".join(f"{name} {message}" for name, message in wrong.items())
