"""Every hook of every specification has a test in the contracts."""

import inspect

import pytest

from hokusai_core.hookspecs import SPECIFICATIONS
from hokusai_core.operations import OPERATION_KINDS
from hokusai_core.testing.contracts import (
    journal,
    journal_claims,
    journal_decisions,
    journal_steps,
    registry,
    tracking,
)

MODULES = {
    "tracking": (tracking,),
    "registry": (registry,),
    "journal": (journal, journal_claims, journal_decisions, journal_steps),
}
NOT_SHARED = {
    "registry_download_model",  # needs a source whose files the backend holds
    "journal_reset_after_fork",  # only in a forked child has it anything to do
}
WRITES = {
    f"{kind.specification}_{kind.model_fields['kind'].default}": kind.__name__
    for kind in OPERATION_KINDS
}


def hooks() -> list[tuple[str, str]]:
    return [
        (capability, name)
        for capability, specification in SPECIFICATIONS.items()
        for name in vars(specification)
        if name.startswith(f"{capability}_") and name not in NOT_SHARED
    ]


@pytest.mark.parametrize(("capability", "hook"), hooks())
def test_a_hook_is_guarded_by_a_contract(capability: str, hook: str) -> None:
    source = "".join(inspect.getsource(module) for module in MODULES[capability])
    operation = WRITES.get(hook)
    called = f"{operation}(" if operation else f"{hook}("
    if operation == "CreateRun":
        called = "new_run("
    elif operation == "LogArtifact":
        called = "file_of("
    assert called in source
