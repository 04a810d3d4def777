"""A rollback in an outage: it moves the alias as it was seen, or nothing at all."""

import threading
from collections.abc import Callable

import pytest

from hokusai_core import ModelRegistry, SyncQueue, TransientError
from hokusai_core.clock import Deadline
from hokusai_core.operations import AnyOperation, DeleteAlias, SetAlias, SetModelVersionTags
from tests.behaviour.stack import Stack


@pytest.fixture(params=("mock", "mlflow-sqlite", "mlflow-postgresql"))
def failing(request: pytest.FixtureRequest, make_stack: Callable[[str], Stack]) -> Stack:
    """Every backend whose primary can go away without its journal; nothing drains by itself."""
    stack = make_stack(request.param)
    stack.settings = stack.settings.model_copy(update={"auto_sync": False})
    return stack


@pytest.fixture
def registry(failing: Stack) -> ModelRegistry:
    return failing.registry()


@pytest.fixture
def name(failing: Stack, registry: ModelRegistry) -> str:
    """A type with three models."""
    name = failing.model_name()
    for number in "123":
        registry.register_baseline("s3://bucket/m", name, model_id=f"{name} {number}")
    return name


def by_others(stack: Stack, operation: AnyOperation) -> None:
    """Let somebody else write, straight to the primary."""
    stack.registry().runtime.sources.primary.get().write(operation, Deadline(20.0))


def sync(registry: ModelRegistry) -> list[str]:
    """Deliver what waits; give the kinds of what is dead then."""
    registry.runtime.drain().run(wait_seconds=30.0, stop=threading.Event())
    assert registry.runtime.waiting() == 0
    return [entry.kind for entry in registry.runtime.sources.entries(states=("dead",))]


def state(registry: ModelRegistry, name: str) -> tuple[dict[str, str], list[str]]:
    """Give the aliases, and the stages of the versions 1 to 3."""
    entries = reversed(registry.list_models_by_type(name))
    aliases = registry.get_registered_model(name).aliases
    return aliases, [entry.tags.get("lifecycle_stage", "") for entry in entries]


def test_an_alias_that_others_set_is_moved_where_it_was_seen(
    failing: Stack, registry: ModelRegistry, name: str
) -> None:
    by_others(failing, SetAlias(name=name, alias="production", version="2"))
    registry.get_latest_model(name)
    with failing.outage():
        assert registry.rollback_model(name, f"{name} 1")
        assert state(registry, name) == ({"production": "1"}, ["Production", "Archived", ""])
    assert sync(registry) == []
    assert state(registry, name) == ({"production": "1"}, ["Production", "Archived", ""])


def test_an_alias_that_nobody_saw_is_moved_by_force_only(
    failing: Stack, registry: ModelRegistry, name: str
) -> None:
    by_others(failing, SetAlias(name=name, alias="production", version="2"))
    with failing.outage():
        with pytest.raises(TransientError):
            registry.rollback_model(name, f"{name} 1")
        assert registry.runtime.waiting() == 0
        assert registry.rollback_model(name, f"{name} 1", force=True)
    assert sync(registry) == []
    assert state(registry, name) == ({"production": "1"}, ["Production", "", ""])


def test_where_there_was_no_alias_no_version_is_surely_the_newest(
    failing: Stack, registry: ModelRegistry, name: str
) -> None:
    registry.get_latest_model(name)
    with failing.outage():
        assert registry.rollback_model(name, f"{name} 1")
    assert sync(registry) == []
    assert state(registry, name) == ({"production": "1"}, ["Production", "", ""])


def test_a_move_that_is_refused_leaves_no_tags(
    failing: Stack, registry: ModelRegistry, name: str
) -> None:
    registry.rollback_model(name, f"{name} 1")
    before = state(registry, name)
    assert before == ({"production": "1"}, ["Production", "", "Archived"])
    with failing.outage():
        registry.rollback_model(name, f"{name} 2")
        registry.set_model_version_tags(name, 2, {"note": "of the outage"})
    by_others(failing, SetAlias(name=name, alias="production", version="3"))
    assert sorted(sync(registry)) == ["set_alias", *["set_model_version_tags"] * 2]
    assert state(registry, name) == ({"production": "3"}, before[1])
    # What else was written to the versions is held back by nothing.
    registry.set_model_version_tags(name, 2, {"later": "direct"})
    tags = registry.get_model_version(name, 2).tags
    assert (tags["note"], tags["later"]) == ("of the outage", "direct")
    assert registry.runtime.waiting() == 0

    queue = SyncQueue(failing.settings, tracking_uri=failing.tracking_uri, backend=failing.backend)
    (move,) = (entry for entry in queue.entries() if entry.kind == "set_alias")
    assert all(
        f"`hokusai queue show {move.op_id}`" in entry.error
        for entry in queue.entries()
        if entry.kind != "set_alias"
    )
    queue.retry_all()
    assert len(sync(registry)) == 3
    assert state(registry, name) == ({"production": "3"}, before[1])
    by_others(failing, DeleteAlias(name=name, alias="production"))
    queue.retry_all()
    assert sync(registry) == []
    assert state(registry, name) == ({"production": "2"}, ["Archived", "Production", "Archived"])


def test_two_rollbacks_in_one_outage(failing: Stack, registry: ModelRegistry, name: str) -> None:
    registry.rollback_model(name, f"{name} 3")
    with failing.outage():
        for number in "12":
            registry.rollback_model(name, f"{name} {number}")
    assert sync(registry) == []
    assert state(registry, name) == ({"production": "2"}, ["Archived", "Production", "Archived"])


def test_tags_are_not_sent_past_a_move_that_was_refused_a_moment_ago(
    failing: Stack, registry: ModelRegistry, name: str
) -> None:
    """As where it is delivered between the two writes of a rollback."""
    with failing.outage():
        registry.set_alias(name, "production", 2)
        (move,) = registry.runtime.sources.entries()
    by_others(failing, SetAlias(name=name, alias="production", version="3"))
    assert sync(registry) == ["set_alias"]
    tags = {"lifecycle_stage": "Production"}
    late = SetModelVersionTags(name=name, version="2", tags=tags, follows=move.op_id)
    assert registry.runtime.router.write(late).state == "pending"
    assert sync(registry) == ["set_alias", "set_model_version_tags"]
    assert state(registry, name) == ({"production": "3"}, ["", "", ""])
