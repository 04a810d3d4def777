"""What others did on the primary, past this journal: it shows in health, and no outage denies it."""

from collections.abc import Callable
from typing import Any

import pytest

from hokusai_core import (
    ModelNotFoundError,
    ModelRegistry,
    NotDeliveredError,
    TransientError,
    UnavailableError,
)
from hokusai_core.clock import Deadline
from hokusai_core.operations import (
    AnyOperation,
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
)
from tests.behaviour.stack import Stack
from tests.support.waiting import wait_for

SEPARATE_JOURNAL = ("mock", "mlflow-sqlite", "mlflow-postgresql")
"""Where the journal does not go away with the primary."""


@pytest.fixture(params=SEPARATE_JOURNAL)
def failing(request: pytest.FixtureRequest, make_stack: Callable[[str], Stack]) -> Stack:
    """Every backend whose primary can go away without its journal; nothing drains by itself."""
    stack = make_stack(request.param)
    stack.settings = stack.settings.model_copy(update={"auto_sync": False})
    return stack


def by_others(stack: Stack, operation: AnyOperation) -> None:
    """Let somebody else write, straight to the primary."""
    stack.registry().runtime.sources.primary.get().write(operation, Deadline(20.0))


def three(registry: ModelRegistry, name: str) -> None:
    for number in "123":
        registry.register_baseline("s3://bucket/m", name, model_id=f"{name} {number}")


def latest(registry: ModelRegistry, name: str) -> str:
    found = registry.get_latest_model(name)
    assert found is not None
    return found.mlflow_version


def test_a_deleted_version_is_gone(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    three(registry, name)
    entry = registry.get_model_by_id(f"{name} 1")
    by_others(stack, DeleteModelVersion(name=name, version="1"))
    gone: list[Callable[[], Any]] = [
        lambda: registry.get_model_version(name, 1),
        lambda: registry.load_model(f"models:/{name}/1"),
        lambda: registry.get_model_by_id(f"{name} 1"),
        entry.refresh,
    ]
    for look_up in gone:
        with pytest.raises(ModelNotFoundError):
            look_up()
    assert latest(registry, name) == "3"


def test_a_version_that_is_deleted_while_its_tag_waits_is_gone(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    three(registry, name)
    with failing.outage():
        registry.set_model_version_tags(name, 1, {"note": name})
        assert [each.version for each in registry.search_model_versions(tags={"note": name})] == [
            "1"
        ]
    by_others(failing, DeleteModelVersion(name=name, version="1"))
    assert wait_for(lambda: answers(registry, name), 30)
    assert registry.search_model_versions(tags={"note": name}) == []
    with pytest.raises(ModelNotFoundError):
        registry.get_model_version(name, 1)


def answers(registry: ModelRegistry, name: str) -> bool:
    try:
        return registry.get_model_version(name, 2).source == "primary"
    except TransientError:
        return False


def test_a_waiting_change_makes_no_version_new(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    three(registry, name)
    with failing.outage():
        registry.set_model_version_tags(name, 1, {"note": "new"})
        assert numbers(registry, name) == ["3", "2", "1"]
        registry.register_baseline("s3://bucket/m", name, model_id=f"{name} 4")
        assert numbers(registry, name) == ["", "3", "2", "1"]
    assert wait_for(lambda: answers(registry, name), 30)
    assert numbers(registry, name) == ["", "3", "2", "1"]
    assert [each.version for each in registry.search_model_versions(name, max_results=2)][1:] == [
        "3"
    ]
    changed = registry.get_model_by_id(f"{name} 1")
    assert (changed.mlflow_version, changed.sync_state) == ("1", "pending")
    with pytest.raises(NotDeliveredError, match="as version 1, but a change of it waits"):
        changed.wait(0)


def numbers(registry: ModelRegistry, name: str) -> list[str]:
    return [entry.mlflow_version for entry in registry.list_models_by_type(name)]


def test_an_alias_that_others_set_is_not_denied_in_an_outage(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    three(registry, name)
    by_others(failing, SetAlias(name=name, alias="production", version="1"))
    unsure: list[Callable[[], Any]] = [
        lambda: registry.get_latest_model(name),
        lambda: registry.get_model_version_by_alias(name, "production"),
        lambda: registry.load_model(f"models:/{name}@production"),
    ]
    with failing.outage():
        for look_up in unsure:
            with pytest.raises(TransientError):
                look_up()


def test_in_an_outage_an_alias_points_where_it_was_seen_last(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    three(registry, name)
    registry.set_alias(name, "canary", 2)
    by_others(failing, SetAlias(name=name, alias="production", version="1"))
    assert latest(registry, name) == "1"
    with failing.outage():
        entry = registry.get_latest_model(name)
        assert entry is not None
        assert (entry.mlflow_version, entry.aliases) == ("1", ("production",))
        assert entry.source == "fallback"
        assert registry.get_registered_model(name).aliases == {"canary": "2", "production": "1"}
        (listed,) = registry.list_registered_models(name)
        assert listed.aliases == {"canary": "2", "production": "1"}
        assert registry.get_model_by_id(f"{name} 1").aliases == ("production",)
        with pytest.raises(ModelNotFoundError):
            registry.get_model_version_by_alias(name, "no-such-alias")
        # What is written here since then is newer than what was seen.
        registry.set_alias(name, "production", 3)
        assert latest(registry, name) == "3"
        registry.delete_alias(name, "production")
        with pytest.raises(ModelNotFoundError):
            registry.get_model_version_by_alias(name, "production")
        registry.set_alias(name, "canary", 1)
        registry.delete_model_version(f"{name} 1")
        assert registry.get_registered_model(name).aliases == {}


def test_what_is_seen_later_counts(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    three(registry, name)
    registry.set_alias(name, "production", 2)
    assert latest(registry, name) == "2"
    by_others(failing, SetAlias(name=name, alias="production", version="3"))
    assert registry.get_model_by_id(f"{name} 3").aliases == ("production",)
    with failing.outage():
        assert latest(registry, name) == "3"
    by_others(failing, SetAlias(name=name, alias="production", version="1"))
    assert wait_for(lambda: answers(registry, name), 30)
    assert registry.get_model_version(name, 3).aliases == ()
    with failing.outage(), pytest.raises(TransientError):
        registry.get_latest_model(name)
    by_others(failing, DeleteAlias(name=name, alias="production"))
    assert wait_for(lambda: answers(registry, name), 30)
    assert latest(registry, name) == "3"
    with failing.outage(), pytest.raises(ModelNotFoundError):
        registry.get_model_version_by_alias(name, "production")


def test_a_comparison_denies_no_model_in_an_outage(failing: Stack) -> None:
    manager, name = failing.manager(), failing.model_name()
    by_others(failing, CreateRegisteredModel(name=name))
    for number in "12":
        tags = {"model_id": f"{name} {number}"}
        by_others(failing, CreateModelVersion(name=name, source="s3://bucket/m", tags=tags))
    data = {"features": [[0.0], [1.0]], "labels": [0, 1]}
    with failing.outage(), pytest.raises(UnavailableError, match="cannot be loaded"):
        manager.compare_models(f"{name} 1", f"{name} 2", data)


def test_the_newest_that_is_known_here_is_not_surely_the_newest(
    failing: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    registry, name = failing.registry(), failing.model_name()
    three(registry, name)
    assert latest(registry, name) == "3"
    assert "incomplete" not in caplog.text
    with failing.outage():
        assert latest(registry, name) == "3"
        assert "list of model versions is incomplete" in caplog.text
        caplog.clear()
        registry.register_baseline("s3://bucket/m", name, model_id=f"{name} 4")
        assert latest(registry, name) == ""
        assert "incomplete" not in caplog.text


def test_a_registered_model_that_others_made_is_not_denied_in_an_outage(failing: Stack) -> None:
    registry, name = failing.registry(), failing.model_name()
    by_others(failing, CreateRegisteredModel(name=name))
    by_others(failing, CreateModelVersion(name=name, source="s3://bucket/m"))
    with failing.outage():
        for look_up in (registry.get_registered_model, registry.get_latest_model):
            with pytest.raises(TransientError):
                look_up(name)
        provisional = CreateModelVersion(name=name, source="s3://bucket/m").provisional_id
        assert provisional
        with pytest.raises(TransientError):
            registry.get_model_version(name, provisional)
