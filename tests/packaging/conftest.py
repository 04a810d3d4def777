"""A clean environment with distributions that were really built and installed, without a network."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.docs.pages import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]

EXAMPLE = ROOT / "docs" / "examples" / "hokusai-backend-files"
DISTRIBUTIONS = sorted((Path(__file__).parent / "distributions").iterdir())
_SECONDS = 200


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with all distributions; one for all workers of a test run.

    What they depend on is taken from the environment that runs the tests.
    """
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / "packaging"
    with FileLock(shared / "packaging.lock"):
        if not (folder / "done").exists():
            _install(folder)
            (folder / "done").touch()
    return folder / "environment"


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Runs a program of the environment in an empty folder, as a user who has set nothing else."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOKUSAI_", "MLFLOW_", "FILES_", "PYTEST_", "PYTHON", "COVERAGE_"))
    }
    environment["HOKUSAI_DATA_DIR"] = str(tmp_path / "data")

    def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(installed / "bin" / program), *arguments],
            cwd=tmp_path,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    return run


def _install(folder: Path) -> None:
    wheels = folder / "wheels"
    sources = [ROOT, EXAMPLE, *DISTRIBUTIONS]
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, *sources)
    venv.create(folder / "environment", with_pip=False, symlinks=True)
    python = folder / "environment" / "bin" / "python"
    _pip("--python", python, "install", "--no-index", "--no-deps", *sorted(wheels.iterdir()))
    (site,) = (folder / "environment" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")


def _pip(*arguments: object) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
