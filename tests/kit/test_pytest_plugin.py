"""The fixtures for users' own tests, and what loading them costs everybody else."""

import os
import subprocess
import sys

import pytest

from hokusai_core import ExperimentManager, InvalidInputError, ModelRegistry, Settings
from hokusai_core.testing import MockBackend, Outage
from tests.docs.pages import ROOT


def test_loading_it_imports_nothing_but_pytest() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import hokusai_pytest; "
        "print(sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.strip() == "['hokusai_pytest']"


def test_code_that_names_no_backend_writes_to_the_mock(hokusai_mock: MockBackend) -> None:
    with ExperimentManager("training").start_run() as run:
        run.log_metric("loss", 0.5)
    assert hokusai_mock.store.get_run(run.run_id).data.metrics == {"loss": 0.5}
    assert ModelRegistry().list_models_by_type("classification") == []


def test_each_test_has_a_mock_of_its_own(hokusai_mock: MockBackend) -> None:
    assert hokusai_mock.store.runs() == ()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer may have set; the fixture comes before the one that is tested."""
    monkeypatch.setenv("HOKUSAI_API_KEY", "secret")
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://nowhere/none")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://production.example")


@pytest.mark.usefixtures("machine")
def test_settings_are_isolated(request: pytest.FixtureRequest) -> None:
    settings = request.getfixturevalue("hokusai_settings")
    assert isinstance(settings, Settings)
    assert (settings.primary_name, settings.mlflow_tracking_uri) == ("mock", "")
    assert settings.api_key is None
    assert settings.database_url is None
    assert "hokusai" in settings.data_dir.name
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_an_outage_is_scripted(hokusai_mock: MockBackend, hokusai_outage: Outage) -> None:
    run = ExperimentManager("training").start_run()
    with hokusai_outage:
        run.log_metric("loss", 0.5)
        assert run.sync_state == "pending"
    run.wait(timeout=30)
    assert hokusai_mock.store.get_run(run.run_id).data.metrics == {"loss": 0.5}


def test_the_calls_of_a_script_are_met_in_order(
    hokusai_mock: MockBackend, hokusai_outage: Outage
) -> None:
    manager = ExperimentManager("training")
    first = manager.start_run()
    hokusai_outage.script("ok", "lost answer")
    first.log_metric("loss", 0.1)
    assert first.sync_state == "delivered"
    second = manager.start_run(nested=True)
    assert second.sync_state == "pending"
    second.wait(timeout=30)
    assert len(hokusai_mock.store.runs()) == 2


def test_what_cannot_happen_is_refused(hokusai_mock: MockBackend, hokusai_outage: Outage) -> None:
    with pytest.raises(InvalidInputError, match=r"'explodes'.*lost answer"):
        hokusai_outage.script("refused", "explodes")  # type: ignore[arg-type]
    ExperimentManager("training").start_run().end()
    assert hokusai_outage.land_late_effects() == 0
    assert len(hokusai_mock.store.runs()) == 1
