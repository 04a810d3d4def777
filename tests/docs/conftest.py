"""Runs what the documentation shows, in an environment of its own."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.docs.pages import DATABASE_PLACEHOLDER, ROOT, SERVER_PLACEHOLDER
from tests.support import session
from tests.support.mlflow_server import MlflowServer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def clean_environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing, with a data folder that goes away."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOKUSAI_", "MLFLOW_", "_MLFLOW_", "PYTEST_", "COVERAGE_"))
    }
    data = tmp_path / "data"
    return kept | {
        "HOME": str(tmp_path),
        "HOKUSAI_DATA_DIR": str(data),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def run_python(tmp_path: Path, clean_environment: dict[str, str]) -> Run:
    """Runs Python with arguments in an empty folder, and gives what it came to."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run(
        *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return session.run(
            *arguments,
            folder=folder,
            environment=clean_environment | dict(environment or {}),
        )

    return run


@pytest.fixture
def with_servers(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Puts the addresses of real servers, started where need be, in the places that pages keep."""

    def replace(text: str) -> str:
        if SERVER_PLACEHOLDER in text:
            server: MlflowServer = request.getfixturevalue("mlflow_server")
            text = text.replace(SERVER_PLACEHOLDER, server.url)
        if DATABASE_PLACEHOLDER in text:
            text = text.replace(DATABASE_PLACEHOLDER, request.getfixturevalue("postgres_url"))
        return text

    return replace
