"""Tags that say who started a run, and from what, as MLflow's fluent API sets them."""

import functools
import getpass
import os
import subprocess
import sys
from pathlib import Path

_GIT_SECONDS = 2.0


def context_tags() -> dict[str, str]:
    """Give ``mlflow.user``, ``mlflow.source.*`` and, in a git work tree, the commit.

    The names are MLflow's system tags (``mlflow/utils/mlflow_tags.py``). What cannot be told is left
    out, never made up.
    """
    source = sys.argv[0] if sys.argv and sys.argv[0] else "<console>"
    tags = {"mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    if user := _user():
        tags["mlflow.user"] = user
    if source != "<console>" and (commit := _git_commit(str(Path(source).resolve().parent))):
        tags["mlflow.source.git.commit"] = commit
    return tags


def _user() -> str:
    configured = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if configured:
        return configured
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


@functools.lru_cache(maxsize=16)
def _git_commit(folder: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", folder, "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
