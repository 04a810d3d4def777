"""What became of a load: every call, every record on the server, and what was queued when."""

import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.high_availability.load import Told


@dataclass
class Figures:
    """Lines that a test prints at the end of the session."""

    test: str
    lines: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{self.test}: {text}")


@dataclass
class Queued:
    """When a job's writes were queued.

    ``fallbacks`` are the moments at which a write was queued although nothing of its run waited: the
    server failed it, or its circuit was open. ``count`` is how many operations waited, ``settled``
    when the last of them arrived. Seconds since the epoch.
    """

    fallbacks: list[float] = field(default_factory=list)
    count: int = 0
    settled: float = 0.0


def queued_after(folder: Path, moment: float) -> Queued:
    """Read from a job's journal what was queued after a moment."""
    journal, found = folder / "hokusai.db", Queued()
    if not journal.exists():
        return found
    with closing(sqlite3.connect(journal, timeout=30)) as connection:
        rows = connection.execute(
            "SELECT stream, state, appended_at, settled_at FROM operations ORDER BY sequence"
        ).fetchall()
    waits_until: dict[str, float] = {}
    for stream, state, appended, settled in rows:
        assert state == "delivered", (stream, state)
        run = stream.partition("/")[2]  # a run's values and its files wait for each other
        if appended >= moment:
            found.count += 1
            found.settled = max(found.settled, settled)
            if appended > waits_until.get(run, 0.0):
                found.fallbacks.append(appended)
        waits_until[run] = max(waits_until.get(run, 0.0), settled)
    return found


def nothing_waits(folder: Path) -> bool:
    """Whether a job's journal holds nothing that waits."""
    journal = folder / "hokusai.db"
    if not journal.exists():
        return True
    with closing(sqlite3.connect(journal, timeout=30)) as connection:
        try:
            query = (
                "SELECT (SELECT count(*) FROM operations WHERE state = 'waiting')"
                " + (SELECT count(*) FROM intake)"
            )
            return connection.execute(query).fetchone() == (0,)
        except sqlite3.OperationalError:
            return False  # its tables are being made


def share(told: Iterable[Told], moment: float) -> str:
    """Give the share of calls that succeeded among those that began after a moment, in words."""
    calls = [call for each in told for call in each.calls if call.began >= moment]
    good = sum(not call.error for call in calls)
    slowest = max(call.seconds for call in calls)
    return (
        f"{good} of {len(calls)} calls succeeded ({good / len(calls):.2%}), slowest {slowest:.1f} s"
    )


def assert_all_there_once(url: str, experiment: str, told: Told) -> None:
    """See that the server has every run of a job once, with all that was written and no more."""
    found = runs_of(url, experiment)
    names = [name for name, _ in found]
    assert sorted(names) == sorted(told.runs), "runs that are missing, or there twice"
    for name, state in found:
        assert state == told.runs[name], name


def runs_of(url: str, experiment: str) -> list[tuple[str, dict[str, Any]]]:
    """Ask the server for all runs of an experiment, by name, in the form of :class:`Told`."""
    client = MlflowClient(url, url)
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    runs: list[Any] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], run_view_type=ViewType.ALL, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return [(run.info.run_name, _state_of(client, run)) for run in runs]


def _state_of(client: MlflowClient, run: Any) -> dict[str, Any]:
    points = client.get_metric_history(run.info.run_id, "loss")
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for entry in client.list_artifacts(run.info.run_id, "texts"):
            copy = client.download_artifacts(run.info.run_id, entry.path, folder)
            files[entry.path] = Path(copy).read_text(encoding="utf-8")
    return {
        "points": [[point.step, point.value] for point in sorted(points, key=lambda p: p.step)],
        "params": dict(run.data.params),
        "tags": {key: value for key, value in run.data.tags.items() if key == "step"},
        "files": files,
        "status": run.info.status,
    }
