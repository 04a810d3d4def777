"""The registry in an outage: readable at once, delivered once, no number made up."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hokusai_core import (
    AlreadyExistsError,
    DeadLetterError,
    ModelNotFoundError,
    ModelRegistry,
    ModelRegistryEntry,
    NotDeliveredError,
    SyncQueue,
    TransientError,
)
from hokusai_core.identifiers import is_provisional
from tests.behaviour.models import MetadataModel
from tests.behaviour.stack import Stack
from tests.support.waiting import wait_for

SEPARATE_JOURNAL = ("mock", "mlflow-sqlite", "mlflow-postgresql")
"""Where the journal does not go away with the primary."""


def test_every_call_works_in_an_outage_and_is_delivered(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    token = f"tk-{name[-12:]}"
    first, second, third = (f"{name} it's {number}" for number in "123")
    with failing.outage():
        baseline = registry.register_baseline(MetadataModel(first), name)
        improved = registry.register_improved_model(
            "s3://bucket/m", first, {"accuracy": 0.25}, "0xabc", model_id=second
        )
        gone = registry.register_baseline("s3://bucket/model", name, model_id=third)
        for entry in (baseline, improved, gone):
            assert (entry.sync_state, entry.mlflow_version) == ("pending", "")
            assert is_provisional(entry.registry_version)
            assert entry.refresh() == entry.refresh()
        with pytest.raises(NotDeliveredError, match="hokusai sync"):
            baseline.wait(0.01)
        made = registry.register_tokenized_model(
            "s3://bucket/model", name, token, "f1", 0.5, {"model_id": f"{name} of the token"}
        )
        assert (made["version"], made["sync_state"]) == ("", "pending")
        assert (
            registry.get_tokenized_model(name, made["registry_version"])["token_id"]
            == token.upper()
        )
        assert [each["version"] for each in registry.list_models_by_token(token)] == [""]
        registry.update_model_tags(name, improved.registry_version, {"team": "a"})
        found = registry.get_model_by_id(second)
        assert (found.tags["team"], found.sync_state, found.source) == ("a", "pending", "fallback")
        lineage = registry.get_model_lineage(second)
        assert [entry.model_id for entry in lineage.entries] == [first, second]
        assert registry.rollback_model(name, first)
        latest = registry.get_latest_model(name)
        assert latest is not None
        assert (latest.model_id, latest.lifecycle_stage) == (first, "Production")
        assert registry.delete_model_version(third)
        assert sorted(entry.model_id for entry in registry.list_models_by_type(name)) == [
            first,
            second,
            f"{name} of the token",
        ]
        with pytest.raises(AlreadyExistsError):
            registry.register_baseline(MetadataModel(first), name)
        # Whether somebody else registered it, nobody can tell now.
        for look_up in (registry.get_model_by_id, registry.get_model_lineage):
            with pytest.raises(TransientError):
                look_up(f"{name} unknown")
        with pytest.raises(TransientError):
            registry.get_latest_model(f"{name} unknown")
    delivered = [entry.wait(30) for entry in (baseline, improved)]
    assert {entry.sync_state for entry in delivered} == {"delivered"}
    numbers = [entry.mlflow_version for entry in delivered]
    assert all(number.isdigit() for number in numbers)
    assert wait_for(lambda: registry.runtime.waiting() == 0, 30)
    assert registry.get_registered_model(name).aliases == {"production": numbers[0]}
    with pytest.raises(ModelNotFoundError):
        registry.get_model_by_id(third)
    entries = registry.list_models_by_type(name)
    assert sorted(entry.model_id for entry in entries) == [first, second, f"{name} of the token"]
    assert {entry.source for entry in entries} == {"primary"}
    assert registry.get_model_by_id(second).tags["team"] == "a"
    assert registry.get_model_by_id(first).run_id
    (listed,) = registry.list_models_by_token(token)
    assert listed["version"] == registry.get_model_by_id(f"{name} of the token").mlflow_version


@pytest.mark.parametrize("kind", SEPARATE_JOURNAL)
def test_what_was_registered_in_health_is_known_in_an_outage(
    make_stack: Callable[[str], Stack], kind: str
) -> None:
    failing = make_stack(kind)
    registry, name = failing.registry(), failing.model_name()
    token = f"tk-{name[-12:]}"
    registry.register_baseline("s3://bucket/m", name, model_id=f"{name} 1")
    registry.register_improved_model(
        "s3://bucket/m", f"{name} 1", {"auroc": 0.1}, "0x", model_id=f"{name} 2"
    )
    registry.register_tokenized_model("s3://bucket/m", name, token, "f1", 0.5)
    registry.rollback_model(name, f"{name} 1")
    reader = other_process(failing) if kind == "mlflow-postgresql" else registry
    with failing.outage():
        assert [entry.mlflow_version for entry in reader.list_models_by_type(name)] == [
            "3",
            "2",
            "1",
        ]
        latest = reader.get_latest_model(name)
        assert latest is not None
        assert (latest.model_id, latest.sync_state) == (f"{name} 1", "delivered")
        assert latest.source == "fallback"
        lineage = reader.get_model_lineage(f"{name} 2")
        assert [entry.mlflow_version for entry in lineage.entries] == ["1", "2"]
        assert [each["version"] for each in reader.list_models_by_token(token.lower())] == ["3"]
        assert reader.get_model_by_id(f"{name}/3").mlflow_version == "3"
        with pytest.raises(TransientError):
            reader.get_model_by_id(f"{name}/4")
        improved = reader.register_improved_model(
            "s3://bucket/m", f"{name} 2", {"auroc": 0.1}, "0x", model_id=f"{name} 3"
        )
        with pytest.raises(AlreadyExistsError):
            registry.register_baseline("s3://bucket/m", name, model_id=f"{name} 3")
    assert improved.wait(30).mlflow_version == "4"
    assert len(registry.get_model_lineage(f"{name} 3").entries) == 3
    close(reader)


def other_process(stack: Stack) -> ModelRegistry:
    """A registry with machinery of its own on the same journal, as another process has it."""
    settings = stack.settings.model_copy(update={"attempts": stack.settings.attempts + 1})
    return ModelRegistry(stack.tracking_uri, backend=stack.backend, settings=settings)


def close(registry: ModelRegistry) -> None:
    registry.runtime.drainer.stop(5.0)
    registry.runtime.close_connections()


@pytest.mark.parametrize(
    ("kind", "outage"),
    [
        ("mock", True),
        ("mlflow-sqlite", False),
        ("mlflow-postgresql", True),
        ("postgresql", False),
    ],
)
def test_eight_threads_register_each_model_once(
    make_stack: Callable[[str], Stack], kind: str, outage: bool
) -> None:
    """Also the ids that two of them register at the same moment."""
    failing = make_stack(kind)
    registry, name = failing.registry(), failing.model_name()
    ids = [f"{name} {number % 8}" for number in range(16)]
    start = threading.Barrier(8)

    def register(model_id: str) -> ModelRegistryEntry | None:
        start.wait(30)
        tags = {"twin": model_id}
        try:
            return registry.register_baseline("s3://bucket/m", name, model_id=model_id, tags=tags)
        except AlreadyExistsError:
            return None

    with ThreadPoolExecutor(8) as threads:
        if outage:
            with failing.outage():
                results = list(threads.map(register, sorted(ids)))
        else:
            results = list(threads.map(register, sorted(ids)))
    entries = [entry.wait(60) for entry in results if entry]
    assert sorted(entry.model_id for entry in entries) == sorted(set(ids))
    numbers = [entry.mlflow_version for entry in entries]
    assert len(set(numbers)) == 8
    found = registry.search_model_versions(name)
    assert sorted(version.version for version in found) == sorted(numbers)
    for version in found:
        assert version.tags.keys() >= {
            "model_id",
            "is_baseline",
            "metrics",
            "metadata",
            "timestamp",
        }
        assert version.tags["twin"] == version.tags["model_id"]


@pytest.mark.parametrize("kind", ["mlflow-sqlite"])
def test_an_id_that_got_taken_meanwhile_is_a_dead_letter(
    make_stack: Callable[[str], Stack], kind: str, tmp_path: Path
) -> None:
    """Two machines with journals of their own."""
    failing = make_stack(kind)
    name = failing.model_name()
    elsewhere = failing.registry()
    settings = failing.settings.model_copy(
        update={"data_dir": tmp_path / "another machine", "auto_sync": False}
    )
    here = ModelRegistry(failing.tracking_uri, settings=settings)
    with failing.outage():
        first = elsewhere.register_baseline("s3://bucket/m", name, model_id=name)
        with pytest.raises(TransientError):
            here.get_model_by_id(name)
        second = here.register_baseline("s3://bucket/other", name, model_id=name)
    assert first.wait(30).mlflow_version == "1"
    here.runtime.drain().run(wait_seconds=30.0, stop=threading.Event())
    with pytest.raises(DeadLetterError):
        second.wait(0)
    queue = SyncQueue(settings, tracking_uri=failing.tracking_uri)
    (dead,) = queue.entries()
    assert "registered elsewhere meanwhile" in dead.error
    assert [version.version for version in here.search_model_versions(name)] == ["1"]
    close(here)


@pytest.mark.parametrize("kind", ["mlflow-sqlite"])
def test_a_tag_with_an_id_that_got_taken_meanwhile_is_a_dead_letter(
    make_stack: Callable[[str], Stack], kind: str, tmp_path: Path
) -> None:
    failing = make_stack(kind)
    failing.settings = failing.settings.model_copy(update={"auto_sync": False})
    registry, name = failing.registry(), failing.model_name()
    settings = failing.settings.model_copy(update={"data_dir": tmp_path / "another machine"})
    elsewhere = ModelRegistry(failing.tracking_uri, settings=settings)
    made = registry.register_baseline("s3://bucket/m", name, model_id=f"{name} 1")
    registry.register_baseline("s3://bucket/m", name, model_id=f"{name} 2")
    with failing.outage():
        registry.update_model_tags(name, 1, {"model_id": f"{name} 1", "note": "its own"})
        registry.update_model_tags(name, 1, {"model_id": f"{name} taken"})
        with pytest.raises(AlreadyExistsError):
            registry.update_model_tags(name, 2, {"model_id": f"{name} taken"})
    elsewhere.register_baseline("s3://bucket/m", name, model_id=f"{name} taken")
    registry.runtime.drain().run(wait_seconds=30.0, stop=threading.Event())
    found = made.refresh()
    assert (found.model_id, found.tags["note"]) == (f"{name} 1", "its own")
    dead = registry.runtime.sources.entries(states=("dead",))
    assert ["registered elsewhere meanwhile" in entry.error for entry in dead] == [True]
    close(elsewhere)
