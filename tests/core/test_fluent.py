"""MLflow's fluent calls, where MLflow is not loaded or is not the one that we know."""

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest

from hokusai_core import ConfigurationError, ExperimentManager, fluent
from hokusai_core.entities import RunInfo
from hokusai_core.testing import MockBackend


def test_no_block_loads_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    manager = ExperimentManager("any", backend=MockBackend())
    with manager.start_experiment("other"), manager.start_run(nested=True):
        pass
    assert "mlflow" not in sys.modules
    assert (fluent.active_run_id(), fluent.tracking_uri()) == (None, None)


def test_a_half_loaded_mlflow_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another thread sees the module while it is being imported."""
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    with ExperimentManager("any", backend=MockBackend()).start_run() as run:
        run.log_metric("m", 1.0)
    assert (fluent.active_run_id(), fluent.tracking_uri()) == (None, None)


def test_on_another_backend_start_experiment_warns_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = SimpleNamespace(get_tracking_uri=lambda: "http://x", active_run=lambda: None)
    monkeypatch.setitem(sys.modules, "mlflow", loaded)
    manager = ExperimentManager("any", backend=MockBackend())
    for _ in range(2):
        with manager.start_experiment("other"):
            pass
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "the backend is not MLflow" in warning.getMessage()


def test_an_mlflow_that_keeps_its_active_run_elsewhere_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking.fluent", ModuleType("fluent"))
    info = RunInfo(run_id="a" * 32, experiment_id="1")
    with pytest.raises(ConfigurationError, match="run handle"), fluent.activated(info, "http://x"):
        pytest.fail("was entered")
