"""``ModelRegistry`` beside a plain client of the same server: old data, and what the client sees."""

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from hokusai_core import ExperimentManager, ModelNotFoundError, ModelRegistry, Settings
from hokusai_core.queries import VersionQuery
from tests.mlflow_backend.conftest import unique
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.waiting import wait_for

X, Y = load_iris(return_X_y=True)
_FAST = {"late_effect_seconds": 0.5, "circuit_open_seconds": 0.1, "circuit_open_max_seconds": 0.3}


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    return MlflowClient(mlflow_server.url, mlflow_server.url)


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[FaultProxy]:
    with FaultProxy(mlflow_server.port) as running:
        yield running


@pytest.fixture
def registry(proxy: FaultProxy, tmp_path: Path) -> Iterator[ModelRegistry]:
    loaded = Settings.load(
        data_dir=tmp_path, request_timeout=20, write_timeout=25, lease_seconds=60, **_FAST
    )
    made = ModelRegistry(proxy.url, settings=loaded)
    yield made
    made.runtime.drainer.stop(5.0)
    made.runtime.close_connections()


def old_version(client: MlflowClient, name: str, **tags: object) -> str:
    """Register a version as the old code did: created bare, its tags set one after the other."""
    made = client.create_model_version(name, "s3://bucket/models")
    for key, value in tags.items():
        client.set_model_version_tag(name, made.version, key, str(value))
    return str(made.version)


def test_data_of_the_old_code_read_correctly(registry: ModelRegistry, client: MlflowClient) -> None:
    name, token = unique("old"), unique("Tk")
    client.create_registered_model(name, description=f"Hokusai model type: {name}")
    ids = [f"{name}-{number}" for number in range(2)]
    common = {"model_type": name, "version": "1.0.0", "metrics": json.dumps({"accuracy": 0.8})}
    old_version(
        client, name, model_id=ids[0], is_baseline="true", timestamp="2024-05-01T10:00:00", **common
    )
    old_version(
        client,
        name,
        model_id=ids[1],
        is_baseline="false",
        baseline_id=ids[0],
        delta_metrics=json.dumps({"accuracy_improvement": 0.05}),
        contributor_address="0xabc",
        **(common | {"metrics": "no JSON"}),
    )
    old_version(client, name)
    old_version(
        client,
        name,
        hokusai_token_id=token.lower(),
        benchmark_metric="f1",
        benchmark_value="0.25",
        mlflow_run_id="0123",
    )
    old_version(client, name, hokusai_token_id=token.upper(), benchmark_value="not a number")

    baseline = registry.get_model_by_id(ids[0])
    assert (baseline.is_baseline, baseline.version, baseline.mlflow_version) == (True, "1.0.0", "1")
    assert (baseline.metrics, baseline.timestamp) == ({"accuracy": 0.8}, "2024-05-01T10:00:00")
    improved = registry.get_model_by_id(ids[1])
    assert (improved.is_baseline, improved.metrics) == (False, {})
    assert improved.contributor_address == "0xabc"
    lineage = registry.get_model_lineage(ids[1])
    assert ([entry.model_id for entry in lineage.entries], lineage.total_improvement) == (ids, 0.05)
    listed = registry.list_models_by_type(name)
    assert [entry.mlflow_version for entry in listed] == ["5", "4", "3", "2", "1"]
    bare = listed[2]
    assert (bare.model_id, bare.model_type, bare.is_baseline) == (f"{name}/3", name, False)

    (of_token,) = registry.list_models_by_token(token)
    assert (of_token["version"], of_token["token_id"]) == ("4", token.upper())
    assert (of_token["baseline_value"], of_token["mlflow_run_id"]) == (0.25, "0123")
    assert (of_token["proposal_identifier"], of_token["status"]) == (token.upper(), "")
    assert registry.get_tokenized_model(name, 4) == of_token
    for number in (3, 5):
        with pytest.raises(ModelNotFoundError, match="no tokenized model"):
            registry.get_tokenized_model(name, number)

    latest = registry.get_latest_model(name)
    assert latest is not None
    assert latest.mlflow_version == "5"
    with pytest.warns(FutureWarning, match="stages"):
        client.transition_model_version_stage(name, "2", "Production")
    assert registry.get_model_by_id(ids[1]).lifecycle_stage == "Production"
    client.set_model_version_tag(name, "2", "lifecycle_stage", "Archived")
    assert registry.get_model_by_id(ids[1]).lifecycle_stage == "Archived"
    client.set_registered_model_alias(name, "production", "1")
    latest = registry.get_latest_model(name)
    assert latest is not None
    assert (latest.model_id, latest.aliases) == (ids[0], ("production",))
    assert registry.rollback_model(name, ids[1])
    assert client.get_model_version_by_alias(name, "production").version == "2"
    assert client.get_model_version(name, "1").tags["lifecycle_stage"] == "Archived"
    improved_once_more = registry.register_improved_model(
        "s3://bucket/m", ids[1], {"accuracy": 0.1}, "0xdef"
    )
    assert (improved_once_more.model_type, improved_once_more.mlflow_version) == (name, "6")


def test_searches_page(registry: ModelRegistry, client: MlflowClient) -> None:
    """More models of one token than one page holds: the server is asked again."""
    token, names = unique("tk"), [unique("many") for _ in range(3)]
    for name in names:
        client.create_registered_model(name)
        old_version(
            client, name, hokusai_token_id=token, benchmark_metric="f1", benchmark_value="1"
        )
    reader = registry.runtime.registry
    small = VersionQuery(folded_tags={"hokusai_token_id": token.upper()}, max_results=1)
    assert sorted(version.name for version in reader.all_versions(small)) == sorted(names)
    assert len(registry.list_models_by_token(token)) == 3


def test_a_registered_model_shows_under_its_run_and_a_plain_client_loads_it(
    registry: ModelRegistry,
    client: MlflowClient,
    mlflow_server: MlflowServer,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In health and after a sync, by version, by ``models:/m-...`` and by the run's path."""
    model = LogisticRegression(max_iter=500).fit(X, Y)
    name = unique("classifier")
    manager = ExperimentManager(registry, experiment_name=unique("experiment"))
    entries = [registry.register_baseline(model, name)]
    with manager.start_run() as run:
        run.log_metric("loss", 0.5)
        run.log_model(model, "classifier")
    by_path = registry.register_tokenized_model(
        f"runs:/{run.run_id}/classifier", name, "tk", "f1", 0.5
    )
    proxy.mode = "refuse"
    entries.append(registry.register_baseline(model, name))
    with manager.start_run() as late:
        late.log_model(model, "classifier")
    pending = registry.register_tokenized_model(
        f"runs:/{late.run_id}/classifier", name, "tk", "f1", 0.5
    )
    assert pending["version"] == ""
    waiting = registry.load_model(f"runs:/{late.run_id}/classifier")
    assert (waiting.predict(X) == model.predict(X)).all()
    proxy.mode = "pass"
    entries[1] = entries[1].wait(30)
    assert wait_for(lambda: registry.runtime.waiting() == 0, 30)
    delivered = registry.get_tokenized_model(name, pending["registry_version"])
    assert (delivered["mlflow_run_id"], delivered["sync_state"]) == (late.wait(1), "delivered")

    numbers = [entries[0].mlflow_version, by_path["version"]]
    numbers += [entries[1].mlflow_version, delivered["version"]]
    assert sorted(numbers) == ["1", "2", "3", "4"]
    uris = [f"runs:/{run.run_id}/classifier"]
    for number in numbers:
        version = client.get_model_version(name, number)
        of_run = client.get_run(version.run_id)
        (output,) = of_run.outputs.model_outputs
        assert version.source == f"models:/{output.model_id}"
        assert client.get_logged_model(output.model_id).status == "READY"
        uris += [f"models:/{name}/{number}"]
    mine = registry.load_model(uris[0])
    assert (mine.predict(X) == model.predict(X)).all()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    for uri in uris:
        loaded = mlflow.pyfunc.load_model(uri)
        assert (loaded.predict(X) == model.predict(X)).all()


def test_the_plain_client_is_offered(registry: ModelRegistry, client: MlflowClient) -> None:
    before = mlflow.get_tracking_uri()
    name = unique("model")
    registry.register_model("s3://bucket/m", name)
    assert registry.client.get_model_version(name, "1").source == "s3://bucket/m"
    assert registry.tracking_uri.startswith("http://127.0.0.1:")
    assert mlflow.get_tracking_uri() == before


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=500
) | st.text("'\"\\%_[]*?`🚀 aé\n-;=()", min_size=1, max_size=40)


def _values_are_data(registry: ModelRegistry, name: str, value: str) -> None:
    prefix = unique("id")
    model_id = f"{prefix} {value}"
    for tags in ({"model_id": model_id}, {"model_id": f"{prefix} {value}x"}):
        registry.register_model("s3://bucket/m", name, tags=tags | {"note": value})
    assert registry.get_model_by_id(model_id).model_id == model_id
    newest = registry.search_model_versions(name, tags={"note": value, "model_id": model_id})
    assert [version.tags["model_id"] for version in newest] == [model_id]


def _quick(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@_quick(6)
@given(value=TEXTS)
def test_values_are_data(registry: ModelRegistry, value: str) -> None:
    _values_are_data(registry, "values of all kinds", value)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@_quick(500)
@given(value=TEXTS)
def test_hundreds_of_values_are_data(registry: ModelRegistry, value: str) -> None:
    _values_are_data(registry, "values of all kinds", value)


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300
) | st.text("a/:.\\%'\"🚀 \n", max_size=6)


def _names_are_refused_as_mlflow_refuses(registry: ModelRegistry, name: str) -> None:
    """What is accepted here is accepted by the server, and found under the very name."""
    try:
        made = registry.register_model("s3://bucket/m", name)
    except ValueError:
        return
    assert made.sync_state == "delivered"
    assert registry.get_model_version(name, made.version).name == name
    assert made.version in {version.version for version in registry.search_model_versions(name)}


@_quick(8)
@given(name=NAMES)
def test_names_are_refused_as_mlflow_refuses(registry: ModelRegistry, name: str) -> None:
    _names_are_refused_as_mlflow_refuses(registry, name)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@_quick(500)
@given(name=NAMES)
def test_hundreds_of_names(registry: ModelRegistry, name: str) -> None:
    _names_are_refused_as_mlflow_refuses(registry, name)


@pytest.mark.parametrize("models", [1, 11], ids=["few models", "many models"])
def test_searched_versions_tell_their_aliases(
    registry: ModelRegistry, client: MlflowClient, models: int
) -> None:
    """MLflow's own search leaves them out."""
    token, names = unique("tk"), [unique("aliased") for _ in range(models)]
    for name in names:
        client.create_registered_model(name)
        for _ in range(2):
            old_version(client, name, token=token)
        client.set_registered_model_alias(name, "production", "1")
    found = registry.search_model_versions(tags={"token": token})
    aliases = {(version.name, version.version): version.aliases for version in found}
    assert aliases == {
        (name, number): ("production",) if number == "1" else ()
        for name in names
        for number in "12"
    }


def test_a_registered_model_that_another_client_deleted_is_gone(
    client: MlflowClient, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Also while a change of it waits; what the journal knows of it answers in an outage only."""
    loaded = Settings.load(data_dir=tmp_path, request_timeout=20, auto_sync=False, **_FAST)
    registry, name = ModelRegistry(proxy.url, settings=loaded), unique("gone")
    registry.register_baseline("s3://bucket/m", name, model_id=name)
    registry.set_alias(name, "production", 1)
    client.delete_registered_model(name)
    proxy.mode = "refuse"
    registry.set_alias(name, "canary", 1)
    assert registry.get_registered_model(name).aliases == {"canary": "1", "production": "1"}
    proxy.mode = "pass"
    circuit = registry.runtime.circuits.primary
    assert wait_for(lambda: circuit.seconds_until_probe() == 0, 10)
    with pytest.raises(ModelNotFoundError):
        registry.get_registered_model(name)
    with pytest.raises(ModelNotFoundError):
        registry.get_model_version_by_alias(name, "production")
    assert registry.get_latest_model(name) is None
    assert registry.list_registered_models(name) == []
    assert registry.search_model_versions(name) == []
    registry.runtime.close_connections()
