"""``hokusai doctor``: each thing that may be wrong with a set-up is a line with what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hokusai_core import PermissionDeniedError
from hokusai_core.doctor import doctor
from hokusai_core.testing import MockBackend
from tests.cli.conftest import REFUSED_URL
from tests.support.mlflow_server import MlflowServer
from tests.support.stub_server import Answer, StubServer

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, Any]]


def findings(found: Any, name: str, state: str) -> list[str]:
    return [
        f"{each['text']} {each['advice']}"
        for each in found["findings"]
        if (each["name"], each["state"]) == (name, state)
    ]


def test_a_sound_set_up_also_writes(run_json: RunJson, mlflow_server: MlflowServer) -> None:
    code, found = run_json("doctor", "--write", "--tracking-uri", mlflow_server.url)
    assert (code, found["sound"]) == (0, True)
    names = [each["name"] for each in found["findings"]]
    assert list(dict.fromkeys(names)) == [
        "settings",
        "backends",
        "address",
        "credentials",
        "journal file",
        "server",
        "journal",
        "backlog",
        "write",
        "artifacts",
    ]


def test_each_line_says_what_and_what_to_do(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_TRACKING_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    result = run_command("doctor", "--tracking-uri", REFUSED_URL)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (unknown,) = (line for line in lines if "HOKUSAI_TRACKING_URL" in line)
    assert unknown.startswith("warning  settings")
    assert unknown.endswith("Did you mean MLFLOW_TRACKING_URI?")
    (half,) = (line for line in lines if "MLFLOW_TRACKING_PASSWORD is not" in line)
    assert half.startswith("warning  credentials")
    (server,) = (line for line in lines if line.startswith("FAILED"))
    assert server.split()[1] == "server"
    assert "Connection refused" in server


def test_a_server_that_wants_credentials(run_json: RunJson) -> None:
    with StubServer(Answer(401, b"who are you")) as server:
        code, found = run_json("doctor", "--tracking-uri", server.url)
    assert code == 1
    (refusal,) = findings(found, "server", "failed")
    assert "refuses" in refusal
    assert "MLFLOW_TRACKING_TOKEN" in refusal


def test_a_token_that_cannot_be_sent(run_json: RunJson, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret\nline")
    code, found = run_json("doctor", "--tracking-uri", REFUSED_URL)
    assert code == 1
    (told,) = findings(found, "credentials", "failed")
    assert told.startswith("MLFLOW_TRACKING_TOKEN cannot be used")
    assert findings(found, "credentials", "ok") == []
    assert "secret" not in str(found)
    monkeypatch.setenv("HOKUSAI_API_KEY", "secret\nline")
    code, found = run_json("doctor", "--tracking-uri", REFUSED_URL)
    assert code == 1
    (told,) = findings(found, "settings", "failed")
    assert "HOKUSAI_API_KEY" in told
    assert "secret" not in str(found)


def test_credentials_that_only_read_are_found_by_writing() -> None:
    mock = MockBackend()
    assert doctor(backend=mock).sound
    mock.reject("create_run", PermissionDeniedError("read only"))
    found = doctor(backend=mock, write=True)
    assert not found.sound
    assert [(each.name, each.text) for each in found.findings if each.state == "failed"] == [
        ("write", "read only")
    ]


def test_a_journal_that_is_away_and_a_bad_setting(
    run_json: RunJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://anna@127.0.0.1:1/hokusai")
    code, found = run_json("doctor", "--tracking-uri", REFUSED_URL)
    assert code == 1
    assert "HOKUSAI_DATABASE_URL" in findings(found, "journal", "failed")[0]
    assert findings(found, "spool file", "ok")
    monkeypatch.setenv("HOKUSAI_LEASE_SECONDS", "soon")
    code, found = run_json("doctor")
    assert code == 1
    assert "HOKUSAI_LEASE_SECONDS" in findings(found, "settings", "failed")[0]


def test_what_waits_and_no_fallback(
    run_json: RunJson, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused.start_run(run_name="waits").end()
    _, found = run_json("doctor", "--tracking-uri", REFUSED_URL)
    assert "hokusai sync" in findings(found, "backlog", "warning")[0]
    monkeypatch.setenv("HOKUSAI_FALLBACK", "none")
    _, found = run_json("doctor", "--tracking-uri", REFUSED_URL)
    assert "outage raises" in findings(found, "journal", "warning")[0]


def test_a_file_that_others_can_read(run_json: RunJson, tmp_path: Path) -> None:
    assert run_json("doctor", "--backend", "sql")[0] == 0
    file = tmp_path / "journal" / "hokusai.db"
    file.chmod(0o644)
    code, found = run_json("doctor", "--backend", "sql")
    assert code == 0
    assert f"chmod 600 {file}" in findings(found, "journal file", "warning")[0]
    assert file.stat().st_mode & 0o777 == 0o644  # it mends nothing itself


@pytest.mark.parametrize(
    ("variables", "uri", "name", "words"),
    [
        ({}, "http://bob:pw@tracking.example", "credentials", "the address holds credentials"),
        (
            {"HOKUSAI_API_KEY": "key"},
            "http://tracking.example",
            "credentials",
            "over the network unencrypted",
        ),
        (
            {"HOKUSAI_API_KEY": "key", "MLFLOW_TRACKING_TOKEN": "t"},
            "https://tracking.example",
            "credentials",
            "there are several: HOKUSAI_API_KEY, MLFLOW_TRACKING_TOKEN.",
        ),
        (
            {"MLFLOW_TRACKING_INSECURE_TLS": "true"},
            "https://tracking.example",
            "tls",
            "MLFLOW_TRACKING_SERVER_CERT_PATH",
        ),
        ({}, "", "address", "Set MLFLOW_TRACKING_URI if you have a server."),
    ],
)
def test_what_the_environment_says_of_a_server(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    uri: str,
    name: str,
    words: str,
) -> None:
    from hokusai_backend_mlflow.plugin import plugin
    from hokusai_core.plugins import BackendConfig
    from hokusai_core.settings import Settings

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    settings = Settings.load()
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    found = plugin.examine(BackendConfig(settings=settings, tracking_uri=uri, api_key=key))
    told = [f"{each.text} {each.advice}" for each in found if each.name == name]
    assert any(words in each for each in told), told
    assert "pw" not in " ".join(each.text for each in found)
