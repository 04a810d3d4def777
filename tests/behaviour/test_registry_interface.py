"""The registry's whole interface in health: the same on every backend."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hokusai_core import (
    AlreadyExistsError,
    InvalidInputError,
    InvalidTagsError,
    ModelNotFoundError,
    ModelRegistry,
    RegistryException,
)
from tests.behaviour.models import MetadataModel
from tests.behaviour.stack import Stack

STACKS = ("mock", "mlflow-sqlite", "postgresql", "sqlite")
"""In health it does not matter which journal stands behind MLflow."""

NASTY = (
    "it's 🚀 ünï",
    'say "so"',
    "back\\slash 100%_[a]*? ' and \"",
    "x" * 500 + "'\"",
    "a' OR name = 'b",
)


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest, make_stack: Callable[[str], Stack]) -> Stack:
    return make_stack(request.param)


def test_improvements_and_their_lineage(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    first, second, third = (f"{name} {number}" for number in "123")
    baseline = registry.register_baseline(MetadataModel(first, "1.0.0"), name)
    improved = registry.register_improved_model(
        MetadataModel(second, accuracy=0.93), first, {"accuracy": 0.03}, "0xAbC"
    )
    registry.register_improved_model(
        MetadataModel(third),
        second,
        {"accuracy_improvement": np.float64(0.02), "loss": -1},
        "0xDeF",
    )
    assert (improved.model_type, improved.is_baseline, improved.baseline_id) == (name, False, first)
    assert (improved.delta_metrics, improved.contributor_address) == ({"accuracy": 0.03}, "0xAbC")
    assert improved.tags["metrics"] == '{"accuracy": 0.93}'
    assert "metadata" not in improved.tags
    assert baseline.tags.keys() >= {"model_id", "version", "is_baseline", "metrics", "metadata"}
    stored = registry.get_model_version(name, 2)
    assert stored.description == f"Improved model {second} based on {first}"
    assert stored.run_id == improved.run_id != ""

    lineage = registry.get_model_lineage(third)
    assert [entry["model_id"] for entry in lineage.entries] == [first, second, third]
    assert (lineage.model_id, lineage.complete) == (third, True)
    assert math.isclose(lineage.total_improvement, 0.05)
    listed = registry.list_models_by_type(name)
    assert [entry.model_id for entry in listed] == [third, second, first]
    latest = registry.get_latest_model(name)
    assert latest is not None
    assert latest.model_id == third
    registry.update_model_tags(name, 1, {"baseline_id": third})
    circle = registry.get_model_lineage(third)
    assert [entry.model_id for entry in circle.entries] == [first, second, third]
    assert not circle.complete

    with pytest.raises(RegistryException, match="Model not found: nobody"):
        registry.register_improved_model(MetadataModel(f"{name} 4"), "nobody", {}, "0x")
    with pytest.raises(AlreadyExistsError):
        registry.register_improved_model(MetadataModel(second), first, {"accuracy": 1}, "0x")
    assert len(registry.list_models_by_type(name)) == 3
    assert registry.get_latest_model("no such type") is None
    assert registry.list_models_by_type("no such type") == []


def test_a_rollback_and_a_deletion(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    first, second = (
        registry.register_baseline("s3://bucket/m", name, model_id=f"{name} {n}") for n in "12"
    )
    assert registry.rollback_model(name, first.model_id)
    assert latest_id(registry, name) == first.model_id
    stages = [entry.lifecycle_stage for entry in registry.list_models_by_type(name)]
    assert stages == ["Archived", "Production"]
    assert registry.rollback_model(name, second.model_id)
    assert registry.get_registered_model(name).aliases == {"production": "2"}
    stages = [entry.lifecycle_stage for entry in registry.list_models_by_type(name)]
    assert stages == ["Production", "Archived"]
    assert not registry.rollback_model("another type", second.model_id)
    with pytest.raises(ModelNotFoundError):
        registry.rollback_model(name, "nobody")

    assert registry.delete_model_version(second.model_id)
    assert latest_id(registry, name) == first.model_id
    assert registry.get_registered_model(name).aliases == {}
    for look_up in (registry.get_model_by_id, registry.delete_model_version):
        with pytest.raises(ModelNotFoundError):
            look_up(second.model_id)
    # Its id is free again, its number is not.
    again = registry.register_baseline("s3://bucket/m", name, model_id=second.model_id)
    assert again.mlflow_version == "3"


def latest_id(registry: ModelRegistry, name: str) -> str:
    latest = registry.get_latest_model(name)
    assert latest is not None
    return latest.model_id


def test_a_tokenized_model(stack: Stack) -> None:
    registry, name, token = stack.registry(), stack.model_name(), f"tk-{stack.model_name()[-12:]}"
    with stack.manager().start_run() as run:
        run.log_text("weights", "model/weights.txt")
    made = registry.register_tokenized_model(
        f"runs:/{run.run_id}/model",
        name,
        token,
        "reply_rate",
        0.1342,
        {"ticker": "TICK", "hokusai_status": "draft", "hokusai.eval_spec": "loses", "count": 3},
        eval_spec="spec/1",
        primary_metric="reply_rate",
    )
    assert made == made | {
        "model_name": name,
        "version": "1",
        "token_id": token.upper(),
        "token_identifier": token.upper(),
        "proposal_identifier": "TICK",
        "metric_name": "reply_rate",
        "baseline_value": 0.1342,
        "mlflow_run_id": run.run_id,
        "status": "draft",
        "eval_spec": "spec/1",
        "scorer_ref": None,
        "primary_metric": "reply_rate",
        "benchmark_spec_id": None,
        "sync_state": "delivered",
    }
    assert made["tags"] == {
        "hokusai_token_id": token.upper(),
        "benchmark_metric": "reply_rate",
        "benchmark_value": "0.1342",
        "hokusai_status": "draft",
        "hokusai_proposal_identifier": "TICK",
        "mlflow_run_id": run.run_id,
        "ticker": "TICK",
        "count": "3",
        "hokusai.eval_spec": "spec/1",
        "hokusai.primary_metric": "reply_rate",
    }
    stored = registry.get_model_version(name, 1)
    assert stored.tags.items() >= made["tags"].items()
    assert stored.run_id == run.run_id
    of_run = run.get().data.tags
    assert of_run["hokusai.eval_spec"] == "spec/1"
    assert "hokusai.scorer_ref" not in of_run
    found = registry.get_tokenized_model(name, "1")
    assert {**made, **found, "tags": {}} == {**made, "tags": {}}

    registry.register_model(f"runs:/{run.run_id}/model", name, tags={"hokusai_token_id": token})
    registry.register_model(f"runs:/{run.run_id}/model", name)
    with pytest.raises(ModelNotFoundError, match="no tokenized model"):
        registry.get_tokenized_model(name, 3)
    registry.update_model_tags(
        name, 2, {"benchmark_metric": "f1", "benchmark_value": 1, "hokusai_token_id": token.lower()}
    )
    for spelling in (token.upper(), token.lower()):
        listed = registry.list_models_by_token(spelling)
        assert [(each["version"], each["baseline_value"]) for each in listed] == [
            ("2", 1.0),
            ("1", 0.1342),
        ]
    assert registry.list_models_by_token(f"{token}-x") == []


def test_what_a_model_holds_is_data_in_every_look_up(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    ids = [f"{name} {value}" for value in NASTY]
    for model_id, previous in zip(ids, ["", *ids], strict=False):
        if previous:
            registry.register_improved_model(
                "s3://bucket/m", previous, {"accuracy": 0.01}, model_id, model_id=model_id
            )
        else:
            note = {"note": model_id}
            registry.register_baseline("s3://bucket/m", name, metadata=note, model_id=model_id)
    for number, model_id in enumerate(ids, 1):
        entry = registry.get_model_by_id(model_id)
        assert (entry.model_id, entry.mlflow_version) == (model_id, str(number))
        assert [
            found.version for found in registry.search_model_versions(tags={"model_id": model_id})
        ] == [str(number)]
    lineage = registry.get_model_lineage(ids[-1])
    assert [entry.model_id for entry in lineage.entries] == ids
    with pytest.raises(ModelNotFoundError):
        registry.get_model_by_id(f"{name} %")


def test_a_version_without_a_model_id_is_found_by_its_name_and_number(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    for _ in range(2):
        registry.register_model("s3://bucket/m", name)
    last, first = registry.list_models_by_type(name)
    assert (last.model_id, first.model_id) == (f"{name}/2", f"{name}/1")
    assert registry.get_model_by_id(f"{name}/1") == first
    improved = registry.register_improved_model("s3://bucket/m", f"{name}/1", {"f1": 0.1}, "0x")
    lineage = registry.get_model_lineage(improved.model_id)
    assert [entry.model_id for entry in lineage.entries] == [f"{name}/1", improved.model_id]
    assert registry.rollback_model(name, f"{name}/1")
    assert registry.delete_model_version(f"{name}/2")
    # One that has an id of its own has no other.
    for unknown in (
        f"{name}/2",
        f"{name}/3",
        f"models:/{name}/1",
        f"{name}@production",
        f"{name}/x",
    ):
        with pytest.raises(ModelNotFoundError):
            registry.get_model_by_id(unknown)


def test_a_tag_gives_no_model_id_of_another_version(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    for number in "12":
        registry.register_baseline("s3://bucket/m", name, model_id=f"{name} {number}")
    for call in (registry.update_model_tags, registry.set_model_version_tags):
        with pytest.raises(AlreadyExistsError, match=f"{name} version 1"):
            call(name, 2, {"model_id": f"{name} 1", "team": "a"})
        call(name, 2, {"model_id": f"{name} 2"})
    assert "team" not in registry.get_model_version(name, 2).tags
    registry.update_model_tags(name, 2, {"model_id": f"{name} new"})
    assert registry.get_model_by_id(f"{name} new").mlflow_version == "2"
    registry.update_model_tags(name, 1, {"model_id": f"{name} 2"})
    assert registry.get_model_by_id(f"{name} 2").mlflow_version == "1"


def test_an_entry_is_a_value_that_can_be_looked_up_again(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    entry = registry.register_baseline("s3://bucket/m", name, model_id=f"{name} 1")
    assert entry.wait(0) == entry
    assert (dict(entry)["model_id"], "metrics" in entry) == (entry.model_id, True)
    registry.update_model_tags(name, 1, {"stable": True})
    assert entry.refresh().tags["stable"] == "True"
    assert "stable" not in entry.tags
    for twin in (copy.deepcopy(entry), pickle.loads(pickle.dumps(entry))):
        assert twin == entry


WRONG: list[tuple[str, Callable[[ModelRegistry, str], Any]]] = [
    ("no model", lambda r, n: r.register_baseline(None, n)),
    ("empty URI", lambda r, n: r.register_baseline("", n)),
    ("no type", lambda r, n: r.register_baseline(MetadataModel("a"))),
    ("option with a URI", lambda r, n: r.register_model("runs:/a/m", n, nonsense=1)),
    ("local address", lambda r, n: r.register_model("file:///tmp/model", n)),
    ("metrics no dict", lambda r, n: r.register_baseline(MetadataModel("a"), n, metrics=[1])),
    ("metadata no JSON", lambda r, n: r.register_baseline(MetadataModel("a"), n, {"a": object()})),
    (
        "delta no number",
        lambda r, n: r.register_improved_model(MetadataModel("a"), "b", {"a": "x"}, "0x"),
    ),
    ("no contributor", lambda r, n: r.register_improved_model(MetadataModel("a"), "b", {}, "")),
    ("no improved model", lambda r, n: r.register_improved_model(None, "b", {}, "0x")),
    ("no tags", lambda r, n: r.update_model_tags(n, 1, {})),
    ("bad token tag", lambda r, n: r.update_model_tags(n, 1, {"hokusai_token_id": "a b"})),
    ("bad value tag", lambda r, n: r.update_model_tags(n, 1, {"benchmark_value": "nan"})),
    ("no token", lambda r, n: tokenized(r, n, token_id="")),
    ("no metric", lambda r, n: tokenized(r, n, metric_name=None)),
    ("value text", lambda r, n: tokenized(r, n, baseline_value="0.5")),
    ("value None", lambda r, n: tokenized(r, n, baseline_value=None)),
    ("value bool", lambda r, n: tokenized(r, n, baseline_value=True)),
    ("value NaN", lambda r, n: tokenized(r, n, baseline_value=math.nan)),
    ("value infinite", lambda r, n: tokenized(r, n, baseline_value=np.float32("inf"))),
    ("value huge", lambda r, n: tokenized(r, n, baseline_value=10**400)),
    ("token underscore", lambda r, n: tokenized(r, n, token_id="a_b")),
    ("token hyphen", lambda r, n: tokenized(r, n, token_id="-a")),
    ("token newline", lambda r, n: tokenized(r, n, token_id="abc\n")),
    ("token long", lambda r, n: tokenized(r, n, token_id="a" * 65)),
    ("token not ASCII", lambda r, n: tokenized(r, n, token_id="ä")),
    ("spec empty", lambda r, n: tokenized(r, n, eval_spec="  ")),
    ("spec long", lambda r, n: tokenized(r, n, benchmark_spec_id="s" * 501)),
    ("spec no text", lambda r, n: tokenized(r, n, scorer_ref=5)),
    ("overriding tag", lambda r, n: tokenized(r, n, additional_tags={"benchmark_value": "?"})),
    ("name", lambda r, n: tokenized(r, "a/b")),
    ("no URI", lambda r, n: tokenized(r, n, model_uri="model.pkl")),
    ("token to list", lambda r, n: r.list_models_by_token("a b")),
    ("id to find", lambda r, n: r.get_model_by_id("")),
    ("id no text", lambda r, n: r.get_model_by_id(5)),
]


def tokenized(registry: ModelRegistry, name: str, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model_uri": "runs:/0123/model",
        "token_id": "abc",
        "metric_name": "f1",
        "baseline_value": 0.5,
    }
    return registry.register_tokenized_model(**(arguments | {"model_name": name} | changes))


def test_bad_input_is_refused_and_writes_nothing(stack: Stack) -> None:
    registry, name = stack.registry(), stack.model_name()
    for what, call in WRONG:
        with pytest.raises(InvalidInputError) as refused:
            call(registry, name)
            pytest.fail(f"{what} was accepted")
        assert isinstance(refused.value, ValueError)
    assert registry.list_registered_models(name) == []
    with pytest.raises(ModelNotFoundError):
        registry.get_registered_model(name)


def test_the_validators() -> None:
    registry = ModelRegistry(backend="mock")
    registry.validate_token_id("a-B-9")
    assert registry.normalize_token_id("msg-Ai") == "MSG-AI"
    tags = {"hokusai_token_id": "a", "benchmark_metric": "f1", "benchmark_value": "0.5"}
    registry.validate_hokusai_tags(tags)
    for wrong in (
        {},
        tags | {"benchmark_value": "x"},
        tags | {"benchmark_value": 0.5},
        tags | {"hokusai_token_id": "a_b"},
        {key: value for key, value in tags.items() if key != "benchmark_metric"},
    ):
        with pytest.raises(InvalidTagsError) as refused:
            registry.validate_hokusai_tags(wrong)
        assert isinstance(refused.value, RegistryException)
        assert isinstance(refused.value, ValueError)
