"""Asks the server itself, with MLflow's own client, what it holds, and compares with the ledger."""

import hashlib
import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import computed_field

from hokusai_core.demo.ledger import Ledger, Point, RunLedger
from hokusai_core.operations import PARENT_RUN_TAG, Value


class Count(Value):
    """How much of one kind was logged, how much of it the server holds, and what it has beyond."""

    what: str
    expected: int
    found: int
    duplicates: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def right(self) -> bool:
        """Whether everything is there, once."""
        return self.found == self.expected and not self.duplicates


class Audit:
    """Counts what a server holds. The server must hold nothing but what the ledger tells.

    Args:
        url: The server's address.
        ledger: What was logged.
        folder: For downloads.
    """

    def __init__(self, url: str, ledger: Ledger, folder: Path) -> None:
        self._client = importlib.import_module("mlflow").MlflowClient(
            tracking_uri=url, registry_uri=url
        )
        self._ledger = ledger
        self._folder = folder

    def counts(self) -> tuple[Count, ...]:
        """Ask for everything."""
        runs = self._runs()
        found = {run.info.run_name: run for run in runs}
        both = [(entry, found[name]) for name, entry in self._ledger.runs.items() if name in found]
        return (
            self._count_runs(runs, len(both)),
            self._count_states(both),
            self._count_parents(both, found),
            self._count_points(both),
            self._count_params(both),
            self._count_tags(both),
            self._count_artifacts(both),
            *self._count_registry(),
        )

    def _runs(self) -> list[Any]:
        ids = [experiment.experiment_id for experiment in self._client.search_experiments()]
        return list(self._client.search_runs(ids, max_results=1000))

    def _count_runs(self, runs: list[Any], found: int) -> Count:
        return Count(
            what="runs",
            expected=len(self._ledger.runs),
            found=found,
            duplicates=len(runs) - found,
        )

    def _count_states(self, both: list[tuple[RunLedger, Any]]) -> Count:
        right = sum(
            run.info.status == entry.status and run.info.end_time is not None for entry, run in both
        )
        return Count(what="runs that have ended", expected=len(self._ledger.runs), found=right)

    def _count_parents(self, both: list[tuple[RunLedger, Any]], found: dict[str, Any]) -> Count:
        expected = sum(bool(entry.parent) for entry in self._ledger.runs.values())
        right = sum(
            run.data.tags.get(PARENT_RUN_TAG) == found[entry.parent].info.run_id
            for entry, run in both
            if entry.parent in found
        )
        return Count(what="child runs under their parent", expected=expected, found=right)

    def _count_points(self, both: list[tuple[RunLedger, Any]]) -> Count:
        found = duplicates = 0
        for entry, run in both:
            there = Counter(self._points(run))
            expected = Counter(entry.points)
            found += (there & expected).total()
            duplicates += (there - expected).total()
        total = sum(len(entry.points) for entry in self._ledger.runs.values())
        return Count(what="metric points", expected=total, found=found, duplicates=duplicates)

    def _points(self, run: Any) -> Iterator[Point]:
        for key in run.data.metrics:
            for point in self._client.get_metric_history(run.info.run_id, key):
                yield point.key, point.step, point.value

    def _count_params(self, both: list[tuple[RunLedger, Any]]) -> Count:
        found = sum(len(entry.params.items() & run.data.params.items()) for entry, run in both)
        there = sum(len(run.data.params) for _, run in both)
        expected = sum(len(entry.params) for entry in self._ledger.runs.values())
        return Count(what="params", expected=expected, found=found, duplicates=there - found)

    def _count_tags(self, both: list[tuple[RunLedger, Any]]) -> Count:
        found = sum(len(entry.tags.items() & run.data.tags.items()) for entry, run in both)
        expected = sum(len(entry.tags) for entry in self._ledger.runs.values())
        return Count(what="tags", expected=expected, found=found)

    def _count_artifacts(self, both: list[tuple[RunLedger, Any]]) -> Count:
        found = there = 0
        for entry, run in both:
            digests = dict(self._artifacts(run.info.run_id, None))
            there += len(digests)
            found += len(digests.items() & entry.artifacts.items())
        expected = sum(len(entry.artifacts) for entry in self._ledger.runs.values())
        return Count(
            what="artifacts, byte for byte",
            expected=expected,
            found=found,
            duplicates=there - found,
        )

    def _artifacts(self, run_id: str, folder: str | None) -> Iterator[tuple[str, str]]:
        for file in self._client.list_artifacts(run_id, folder):
            if file.is_dir:
                yield from self._artifacts(run_id, file.path)
                continue
            target = self._folder / run_id
            target.mkdir(parents=True, exist_ok=True)
            local = Path(self._client.download_artifacts(run_id, file.path, str(target)))
            yield file.path, hashlib.sha256(local.read_bytes()).hexdigest()

    def _count_registry(self) -> tuple[Count, ...]:
        names = [model.name for model in self._client.search_registered_models()]
        versions = [
            (version.tags.get("model_id"), version.name)
            for name in names
            for version in self._client.search_model_versions(f"name = '{name}'")
        ]
        known = self._ledger.models & set(names)
        right = set(versions) & set(self._ledger.versions.items())
        return (
            Count(
                what="registered models",
                expected=len(self._ledger.models),
                found=len(known),
                duplicates=len(names) - len(known),
            ),
            Count(
                what="model versions",
                expected=len(self._ledger.versions),
                found=len(right),
                duplicates=len(versions) - len(right),
            ),
            self._count_aliases(names),
        )

    def _count_aliases(self, names: list[str]) -> Count:
        there = {
            alias: self._client.get_model_version(name, number).tags.get("model_id")
            for name in names
            for alias, number in self._client.get_registered_model(name).aliases.items()
        }
        found = len(there.items() & self._ledger.aliases.items())
        return Count(
            what="aliases",
            expected=len(self._ledger.aliases),
            found=found,
            duplicates=len(there) - found,
        )
