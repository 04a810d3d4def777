"""Several processes register models of one type at the same moment: each once, none half-tagged."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

from hokusai_core import ModelVersion, Settings
from hokusai_core.testing import MockBackend
from tests.acceptance import programs
from tests.behaviour.conftest import FAST
from tests.behaviour.stack import Stack
from tests.support.waiting import wait_for

PROGRAM = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from hokusai_core import AlreadyExistsError, ModelRegistry, Settings
from hokusai_core.testing import MockBackend
options = json.loads(sys.argv[1])
settings = Settings.load(auto_sync=False, exit_timeout=0, **options["settings"])
backend = options["backend"]
if options["mock"]:
    backend = MockBackend()
    backend.destination = options["mock"]
    backend.down()
registry = ModelRegistry(options["uri"], backend=backend, settings=settings)
name, who = options["name"], options["who"]
ids = [f"{name} {who} {number}" for number in range(options["each"])] + [f"{name} shared"]
def register(model_id):
    tags = {"who": who, "what": model_id}
    try:
        entry = registry.register_baseline("s3://bucket/m", name, model_id=model_id, tags=tags)
    except AlreadyExistsError:
        return None
    return [model_id, entry.sync_state]
registry.list_registered_models()
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(8) as threads:
    print(json.dumps(list(threads.map(register, ids))))
"""


def registered_by(stack: Stack, name: str, processes: int, each: int) -> Counter[tuple[str, str]]:
    """Let processes register at once; gives what they were told, by model id and state."""
    given = stack.settings.model_dump(mode="json", include=stack.settings.model_fields_set)
    if stack.settings.database_url:
        given["database_url"] = stack.settings.database_url.get_secret_value()
    told: Counter[tuple[str, str]] = Counter()
    with ExitStack() as cleanup:
        running = []
        for number in range(processes):
            options: dict[str, Any] = {
                "settings": given,
                "uri": stack.tracking_uri,
                "backend": stack.backend if isinstance(stack.backend, str) else None,
                "mock": getattr(stack.backend, "destination", ""),
                "name": name,
                "who": f"process {number}",
                "each": each,
            }
            running.append(cleanup.enter_context(programs.running(PROGRAM, json.dumps(options))))
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in running:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            told.update(tuple(result) for result in json.loads(out) if result)
    return told


def check(found: list[ModelVersion], name: str, processes: int, each: int) -> None:
    """Each id once (one of the processes has the shared one), each version whole."""
    own = [f"{name} process {who} {number}" for who in range(processes) for number in range(each)]
    assert sorted(version.tags["model_id"] for version in found) == sorted([*own, f"{name} shared"])
    assert len({version.version for version in found}) == len(found)
    for version in found:
        assert version.tags["what"] == version.tags["model_id"]
        assert version.tags["who"].startswith("process ")
        assert version.tags.keys() >= {"is_baseline", "metrics", "metadata", "timestamp", "version"}


def trial(stack: Stack, *, outage: bool, processes: int, each: int) -> None:
    registry, name = stack.registry(), stack.model_name()
    registry.list_registered_models()
    with stack.outage() if outage else nullcontext():
        told = registered_by(stack, name, processes, each)
    assert set(Counter(model_id for model_id, _ in told.elements()).values()) == {1}
    if outage:
        assert {state for _, state in told} == {"pending"}
    # A database with many writers is busy at times, which is an outage, too.
    registry.runtime.drainer.wake()
    assert wait_for(lambda: registry.runtime.waiting() == 0, 60)
    check(registry.search_model_versions(name), name, processes, each)


def test_four_processes_on_one_database(make_stack: Callable[[str], Stack]) -> None:
    trial(make_stack("sqlite"), outage=False, processes=4, each=4)


def test_four_processes_in_an_outage(tmp_path: Path) -> None:
    """Each sees the primary away; all share one journal, which is delivered here."""
    mock = MockBackend()
    settings = Settings.load(data_dir=tmp_path, fallback="sql", **FAST)
    stack = Stack(settings, lambda: None, mock.up, backend=mock)
    try:
        trial(stack, outage=True, processes=4, each=4)
    finally:
        runtime = stack.registry().runtime
        runtime.drainer.stop(5.0)
        runtime.close_connections()


@pytest.mark.soak
@pytest.mark.parametrize("outage", [False, True], ids=["health", "outage"])
@pytest.mark.parametrize("kind", ["mlflow-sqlite", "mlflow-postgresql"])
def test_four_processes_of_eight_threads(
    make_stack: Callable[[str], Stack], kind: str, outage: bool
) -> None:
    trial(make_stack(kind), outage=outage, processes=4, each=16)
