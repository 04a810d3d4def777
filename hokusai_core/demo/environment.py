"""What the demo needs to be there, and what of the user's environment must not reach it."""

import importlib.util
import os
from collections.abc import Mapping

from hokusai_core.errors import BackendNotInstalledError, ConfigurationError

_NEEDED = ("mlflow", "sklearn", "sqlalchemy")
_OWN_PREFIXES = ("HOKUSAI_", "MLFLOW_", "_MLFLOW_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_ADDED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def check_requirements() -> None:
    """See that the demo can run here, importing nothing.

    Raises:
        BackendNotInstalledError: Packages are missing; names the extra.
        ConfigurationError: The system has no process groups.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendNotInstalledError(
            f"The demo needs {', '.join(missing)}, which is not installed. Run: pip install "
            "'hokusai-tracking[demo]'."
        )
    if os.name != "posix":
        raise ConfigurationError("The demo kills a group of processes, which needs Linux or macOS.")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Give an environment without settings of MLflow and Hokusai, proxies and telemetry.

    Cleaning twice gives the same.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(_OWN_PREFIXES) and name.lower() not in _PROXIES
    }
    return kept | _ADDED
