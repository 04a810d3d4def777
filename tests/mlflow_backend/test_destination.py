"""Addresses: what is accepted, and the identity that the journal keeps."""

from pathlib import Path

import pytest

from hokusai_backend_mlflow.destination import resolve
from hokusai_backend_mlflow.plugin import destination, open_backend
from hokusai_core.errors import ConfigurationError
from hokusai_core.machine import machine_id
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings


def config(uri: str = "", registry_uri: str = "", **settings: object) -> BackendConfig:
    return BackendConfig(
        settings=Settings.load(**settings), tracking_uri=uri, registry_uri=registry_uri
    )


@pytest.mark.parametrize(
    ("uri", "described"),
    [
        ("http://Host.Example:80/", "http://host.example"),
        ("HTTPS://ada:word@host.example:443/mlflow/?key=word#x", "https://host.example/mlflow"),
        ("http://host.example:5000", "http://host.example:5000"),
        ("postgresql://ada:word@db.example/mlflow?password=word", "postgresql://db.example/mlflow"),
        (
            "postgresql://ada:@/mlflow?host=db.example&password=word",
            "postgresql://db.example/mlflow",
        ),
    ],
)
def test_addresses_are_normalised_without_credentials(uri: str, described: str) -> None:
    assert destination(config(uri)) == described


@pytest.mark.parametrize(
    "uri", ["http://localhost:5000", "http://127.0.0.1:5000", "http://[::1]:5000"]
)
def test_loopback_carries_the_machine(uri: str) -> None:
    assert destination(config(uri)) == f"{uri}@{machine_id()}"


def test_the_local_default_is_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(config()).tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve(config("sqlite:///a/b.db")).tracking_uri == f"sqlite:///{tmp_path}/a/b.db"
    assert destination(config()) == f"sqlite:///{tmp_path}/mlflow.db@{machine_id()}"


def test_the_setting_wins_and_a_registry_of_its_own_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert destination(config("http://a.example", destination="ours")) == "ours"
    both = config("http://a.example", "http://b.example")
    assert destination(both) == "http://a.example registry=http://b.example"
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team")
    same = config("http://a.example", "http://a.example/")
    assert destination(same) == "http://a.example workspace=team"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///tmp/mlruns",
        "./mlruns",
        "/tmp/mlruns",
        "C:\\mlruns",
        "sqlite://",
        "sqlite:///:memory:",
        "ftp://host",
        "databricks://profile",
        "databricks",
        "http://",
        "http://host:port",
        "http://host name:5000",
        "http://ho\nst:5000",
    ],
)
def test_what_is_not_supported_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:////path/mlflow\.db|http://host:port"):
        open_backend(config(uri))
    with pytest.raises(ConfigurationError, match=r"MLFLOW_REGISTRY_URI|SQLite"):
        open_backend(config("http://host", uri))


@pytest.mark.parametrize("uri", ["databricks", "databricks-uc", "uc", "databricks://profile"])
def test_databricks_is_named(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_URI names Databricks"):
        open_backend(config(uri))


def test_a_file_store_in_the_current_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    assert open_backend(config()) is not None
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    with pytest.raises(ConfigurationError, match="file store"):
        open_backend(config())
