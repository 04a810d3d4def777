"""What the arguments of the two constructors mean: each row of the table, each call pattern."""

from types import SimpleNamespace
from typing import Any

import pytest

from hokusai_core import ConfigurationError, ExperimentConfig, ExperimentManager, ModelRegistry
from hokusai_core.errors import BackendNotFoundError
from hokusai_core.resolution import DEFAULT_EXPERIMENT
from hokusai_core.settings import Settings
from hokusai_core.testing import MockBackend

URI = "http://127.0.0.1:9"
OTHER_URI = "http://127.0.0.1:10"


class RegistryLike:
    """An object with registry methods, as existing code passes it."""

    tracking_uri = URI

    def register_baseline(self) -> None:
        """Is never called."""


class MethodsOnly:
    """Registry methods, and a ``tracking_uri`` that is no text."""

    tracking_uri = object()

    def get_model_by_id(self) -> None:
        """Is never called."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("MLFLOW_TRACKING_URI", "HOKUSAI_BACKEND", "HOKUSAI_MOCK_MODE", "HOKUSAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path))


def registry(uri: str = URI) -> ModelRegistry:
    return ModelRegistry(uri)


GOOD: list[tuple[str, Any, dict[str, Any]]] = [
    ("nothing", ExperimentManager, {"experiment_name": DEFAULT_EXPERIMENT, "tracking_uri": ""}),
    ("None", lambda: ExperimentManager(None), {"experiment_name": DEFAULT_EXPERIMENT}),
    ("name", lambda: ExperimentManager("a name"), {"experiment_name": "a name"}),
    ("name by keyword", lambda: ExperimentManager(experiment_name="n"), {"experiment_name": "n"}),
    (
        "the same name twice",
        lambda: ExperimentManager("n", experiment_name="n"),
        {"experiment_name": "n"},
    ),
    (
        "registry",
        lambda: ExperimentManager(registry()),
        {"experiment_name": DEFAULT_EXPERIMENT, "tracking_uri": URI},
    ),
    (
        "registry by keyword",
        lambda: ExperimentManager(registry=registry()),
        {"experiment_name": DEFAULT_EXPERIMENT, "tracking_uri": URI},
    ),
    (
        "name, registry by keyword",
        lambda: ExperimentManager("n", registry=registry()),
        {"experiment_name": "n", "tracking_uri": URI},
    ),
    (
        "name, registry in the second slot",
        lambda: ExperimentManager("n", registry()),
        {"experiment_name": "n", "tracking_uri": URI},
    ),
    (
        "registry, name by keyword",
        lambda: ExperimentManager(registry(), experiment_name="n"),
        {"experiment_name": "n", "tracking_uri": URI},
    ),
    (
        "both by keyword",
        lambda: ExperimentManager(experiment_name="n", registry=registry()),
        {"experiment_name": "n", "tracking_uri": URI},
    ),
    (
        "address",
        lambda: ExperimentManager(mlflow_tracking_uri=URI),
        {"experiment_name": DEFAULT_EXPERIMENT, "tracking_uri": URI},
    ),
    (
        "name and address",
        lambda: ExperimentManager("n", URI),
        {"experiment_name": "n", "tracking_uri": URI},
    ),
    (
        "registry and the same address",
        lambda: ExperimentManager(registry(), mlflow_tracking_uri=URI),
        {"tracking_uri": URI},
    ),
    ("registry-like", lambda: ExperimentManager(RegistryLike()), {"tracking_uri": URI}),
    ("methods only", lambda: ExperimentManager(MethodsOnly()), {"tracking_uri": ""}),
    (
        "tracking_uri only",
        lambda: ExperimentManager(SimpleNamespace(tracking_uri=URI)),
        {"tracking_uri": URI},
    ),
]


@pytest.mark.parametrize(("build", "expected"), [g[1:] for g in GOOD], ids=[g[0] for g in GOOD])
def test_an_accepted_pattern_gives_the_configuration(build: Any, expected: dict[str, Any]) -> None:
    config = build().config
    assert isinstance(config, ExperimentConfig)
    assert {field: getattr(config, field) for field in expected} == expected


BAD: list[tuple[str, Any, tuple[str, ...]]] = [
    ("number", lambda: ExperimentManager(123), ("123", "Accepted")),
    ("boolean", lambda: ExperimentManager(True), ("True", "Accepted")),
    ("list", lambda: ExperimentManager([]), ("[]", "Accepted")),
    ("dict", lambda: ExperimentManager({}), ("{}", "Accepted")),
    ("empty name", lambda: ExperimentManager(""), ("empty",)),
    ("blank name", lambda: ExperimentManager("  "), ("empty",)),
    ("long name", lambda: ExperimentManager("n" * 500), ("500", "256")),
    ("class", lambda: ExperimentManager(ModelRegistry), ("class ModelRegistry", "instance")),
    ("name as registry", lambda: ExperimentManager(registry="n"), ("experiment_name=",)),
    ("number as name", lambda: ExperimentManager(experiment_name=5), ("string",)),
    (
        "registry, then a name",
        lambda: ExperimentManager(registry(), "my_experiment"),
        ("my_experiment", "experiment_name="),
    ),
    (
        "a name in the place of an address",
        lambda: ExperimentManager(mlflow_tracking_uri="my_experiment"),
        ("my_experiment", "experiment_name="),
    ),
    (
        "two names",
        lambda: ExperimentManager("one", experiment_name="two"),
        ("'one'", "'two'"),
    ),
    (
        "two registries",
        lambda: ExperimentManager(registry(URI), registry=registry(OTHER_URI)),
        ("127.0.0.1:9", "127.0.0.1:10"),
    ),
    (
        "two addresses",
        lambda: ExperimentManager(registry(URI), OTHER_URI),
        (URI, OTHER_URI),
    ),
    ("unknown backend", lambda: ExperimentManager(backend="nonsense"), ("nonsense", "mlflow")),
    ("number as backend", lambda: ExperimentManager(backend=5), ("backend=",)),
    (
        "backend beside a registry",
        lambda: ExperimentManager(registry(), backend="sql"),
        ("backend=", "registry"),
    ),
    ("number as tracking_uri", lambda: ModelRegistry(5), ("tracking_uri",)),  # type: ignore[arg-type]
    ("name as tracking_uri", lambda: ModelRegistry("models"), ("'models'",)),
]


@pytest.mark.parametrize(("build", "parts"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_refused_pattern_says_what_came_and_what_to_do(
    build: Any, parts: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        build()
    assert isinstance(refusal.value, ValueError)
    for part in parts:
        assert part in str(refusal.value)


def test_credentials_in_two_addresses_are_not_shown() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        ExperimentManager(registry("http://user:canary@127.0.0.1:9"), OTHER_URI)
    assert "canary" not in str(refusal.value)


def test_the_registry_is_kept_and_its_machinery_shared() -> None:
    shared = registry()
    manager = ExperimentManager("n", registry=shared)
    assert manager.registry is shared
    assert manager.runtime is shared.runtime
    other = RegistryLike()
    assert ExperimentManager(other).registry is other


def test_equal_settings_share_the_machinery_of_a_destination_and_others_do_not() -> None:
    first, second = ExperimentManager("a", URI), ExperimentManager("b", URI)
    assert first.runtime is second.runtime
    different = ExperimentManager("a", URI, settings=Settings.load(attempts=1))
    assert different.runtime is not first.runtime


def test_attributes_that_existing_code_reads() -> None:
    manager = ExperimentManager("n", URI)
    assert (manager.experiment_name, manager.tracking_uri) == ("n", URI)
    assert manager.mock_mode is False
    assert manager.VALID_METRICS == ["accuracy", "auroc", "f1_score", "precision", "recall"]


@pytest.mark.parametrize(
    ("environment", "argument", "expected"),
    [
        ({}, None, "mlflow"),
        ({"HOKUSAI_BACKEND": "sql"}, None, "sql"),
        ({"HOKUSAI_BACKEND": "sql"}, "mock", "mock"),
        ({"HOKUSAI_MOCK_MODE": "1"}, None, "mock"),
        ({"HOKUSAI_MOCK_MODE": "yes"}, None, "mock"),
        ({"HOKUSAI_MOCK_MODE": "true"}, None, "mock"),
        ({"HOKUSAI_MOCK_MODE": "false"}, None, "mlflow"),
        ({"HOKUSAI_MOCK_MODE": "0"}, None, "mlflow"),
        ({"HOKUSAI_MOCK_MODE": "true", "HOKUSAI_BACKEND": "sql"}, None, "sql"),
    ],
)
def test_the_backend_is_chosen_by_argument_then_environment(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    argument: str | None,
    expected: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ExperimentManager(backend=argument).config.backend == expected
    assert ModelRegistry(backend=argument).runtime.selection.backend == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MLFLOW_TRACKING_URI": URI}, URI),
        ({"MLFLOW_TRACKING_URI": URI, "HOKUSAI_API_KEY": "k"}, URI),
        ({"HOKUSAI_API_KEY": "k"}, "https://registry.hokus.ai/api/mlflow"),
        (
            {"HOKUSAI_API_KEY": "k", "HOKUSAI_API_ENDPOINT": "https://hokusai.example/api/"},
            "https://hokusai.example/api/mlflow",
        ),
        ({}, ""),
    ],
)
def test_the_address_comes_from_the_environment_in_order(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ExperimentManager().config.tracking_uri == expected


def test_a_registry_takes_key_and_endpoint_from_an_auth_object() -> None:
    auth = SimpleNamespace(api_key="canary-key", api_endpoint="https://hokusai.example/api")
    made = ModelRegistry(auth=auth)
    assert made.runtime.selection.tracking_uri == "https://hokusai.example/api/mlflow"
    key = made.runtime.settings.api_key
    assert key is not None
    assert key.get_secret_value() == "canary-key"
    assert "canary" not in repr(made) + repr(made.runtime.selection) + repr(made.runtime.settings)


def test_an_unknown_backend_is_named_with_those_that_are_installed() -> None:
    with pytest.raises(BackendNotFoundError, match=r"Installed: .*mlflow.*mock"):
        ExperimentManager(backend="nonsense")


def test_a_mock_backend_is_taken_as_an_object() -> None:
    mock = MockBackend()
    manager = ExperimentManager("n", backend=mock)
    assert manager.config.backend == "mock"
    assert manager.mock_mode


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOKUSAI_ATTEMPTS", "canary")
    with pytest.raises(ConfigurationError) as refusal:
        ExperimentManager()
    assert "HOKUSAI_ATTEMPTS" in str(refusal.value)
    assert "canary" not in str(refusal.value)


def test_optional_mlflow_is_deprecated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOKUSAI_OPTIONAL_MLFLOW", "true")
    with pytest.warns(FutureWarning, match="HOKUSAI_FALLBACK"):
        Settings.load()
