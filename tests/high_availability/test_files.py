"""The example's files fit to each other and to the library's settings. Quick: nothing is started."""

import re
from pathlib import Path

import pytest

from hokusai_core import Settings
from tests.high_availability.cluster import EXAMPLES, environment_file, find_proxy, start_command

CONFIGURATION = (EXAMPLES / "haproxy.cfg").read_text(encoding="utf-8")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
HANDLER_THREADS = 40
"""Requests that one MLflow server works at, at once: the threads of Starlette."""


def seconds(name: str) -> float:
    """Give a figure of the configuration, in seconds."""
    found = re.findall(rf"(?:^|\s){name} (\d+)(ms|s|m|h)\b", CONFIGURATION)
    assert len(found) == 1, f"{name}: {found}"
    number, unit = found[0]
    return int(number) * UNITS[unit]


def number(name: str) -> list[int]:
    return [int(found) for found in re.findall(rf"\s{name} (\d+)\b", CONFIGURATION)]


def test_a_server_that_refuses_costs_less_than_a_call() -> None:
    """Every connection attempt of one request, and the pause after each, within one request."""
    settings = Settings.load()
    (retries,) = number("retries")
    pause = min(seconds("timeout connect"), 1.0)
    assert (retries + 1) * (seconds("timeout connect") + pause) < settings.request_timeout
    assert seconds("timeout queue") < settings.request_timeout


def test_nothing_takes_effect_after_the_window() -> None:
    settings = Settings.load()
    longest = seconds("timeout queue") + seconds("timeout server")
    assert longest < settings.late_effect_seconds
    assert seconds("timeout server") > settings.artifact_idle_timeout
    assert seconds("timeout client") > settings.artifact_idle_timeout


def test_a_request_is_never_sent_again() -> None:
    assert re.findall(r"^\s*retry-on (.*)$", CONFIGURATION, flags=re.MULTILINE) == ["conn-failure"]
    for line in ("option redispatch 1", "option http-server-close", "option abortonclose"):
        assert f"    {line}\n" in CONFIGURATION


def test_database_connections_are_enough() -> None:
    limits = [int(each) for each in re.findall(r"server mlflow1 .* maxconn (\d+)", CONFIGURATION)]
    environment = environment_file()
    pool = int(environment["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"]) + int(
        environment["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"]
    )
    assert len(limits) == 2
    assert sum(limits) < pool
    assert sum(limits) < HANDLER_THREADS


def test_the_check_is_allowed_by_the_server() -> None:
    """MLflow answers 403 to a Host header that it does not know."""
    (name,) = re.findall(r"presetenv MLFLOW_PUBLIC_NAME (\S+)", CONFIGURATION)
    assert 'hdr Host "${MLFLOW_PUBLIC_NAME}"' in CONFIGURATION
    allowed = environment_file()["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert allowed == [name, f"{name}:*"]


def test_one_process_of_each_server() -> None:
    command = start_command(5001)
    assert command[command.index("--workers") + 1] == "1"
    assert command[command.index("--port") + 1] == "5001"


def test_a_missing_proxy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.high_availability.cluster._SBIN", ())
    with pytest.raises(RuntimeError, match="apt-get install -y haproxy"):
        find_proxy()
