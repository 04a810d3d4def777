"""Runs as a pandas DataFrame."""

from collections.abc import Sequence
from typing import Any

from hokusai_core.entities import Run
from hokusai_core.errors import BackendNotInstalledError


def runs_as_frame(runs: Sequence[Run]) -> Any:
    """Give runs as a DataFrame with MLflow's column names; times are UTC."""
    try:
        import pandas as pd
    except ImportError as cause:
        raise BackendNotInstalledError(
            "output_format='pandas' needs pandas: pip install 'hokusai-tracking[ml]'."
        ) from cause
    rows = [
        {
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "status": run.info.status,
            "artifact_uri": run.info.artifact_uri,
            "start_time": pd.to_datetime(run.info.start_time, unit="ms", utc=True),
            "end_time": pd.to_datetime(run.info.end_time, unit="ms", utc=True),
            "sync_state": run.sync_state,
            **{f"metrics.{key}": value for key, value in run.data.metrics.items()},
            **{f"params.{key}": value for key, value in run.data.params.items()},
            **{f"tags.{key}": value for key, value in run.data.tags.items()},
        }
        for run in runs
    ]
    return pd.DataFrame(rows)
