"""The demo from beginning to end: train, lose the server, go on, get it back, count."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from hokusai_core.demo.audit import Audit, Count
from hokusai_core.demo.database import journal_database
from hokusai_core.demo.ledger import Ledger, RecordedRun, RunLedger
from hokusai_core.demo.report import Check, DemoReport
from hokusai_core.demo.server import DemoServer
from hokusai_core.demo.training import DigitsTraining
from hokusai_core.draining import DrainReport
from hokusai_core.experiments import ExperimentManager
from hokusai_core.registry import ModelRegistry
from hokusai_core.registry_entry import ModelRegistryEntry
from hokusai_core.settings import Settings
from hokusai_core.sync_progress import SyncProgress

_STEPS = 80
_KILLED_AFTER = 30
_TRAINING_RUN = "training"
_CHILD_RUN = "evaluation"
_MODEL = "demo-digits"
_ALIAS = "champion"
_SYNC_WAIT_SECONDS = 90.0
_REMOVALS = 50
_REMOVAL_PAUSE_SECONDS = 0.1


def run_demo(console: Console, *, keep: bool) -> DemoReport:
    """Run the demo; everything that it starts has ended when it returns or raises.

    Args:
        console: Told what is done, step by step.
        keep: Let the MLflow server run on, and say where it is and how to end it.
    """
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(_folder(keep=keep))
        url = cleanup.enter_context(journal_database(folder, console.print))
        server = DemoServer(folder / "mlflow")
        kept = ExitStack()
        kept.callback(server.stop)
        cleanup.push(kept)
        console.print("Starting an MLflow server (some seconds).")
        server.start()
        registry = ModelRegistry(server.url, settings=_settings(folder, url))
        cleanup.callback(registry.runtime.close_connections)
        report = _Demo(registry, server, folder, console).run()
        if keep:
            kept.pop_all()
            console.print(f"The server runs on: {server.url}")
            console.print(f"End it with: kill -- -{server.pid}")
            console.print(f"Its data are in {folder}")
        return report


class _Demo:
    """The acts of the demo, and what they share."""

    def __init__(
        self, registry: ModelRegistry, server: DemoServer, folder: Path, console: Console
    ) -> None:
        self._registry = registry
        self._server = server
        self._folder = folder
        self._console = console
        self._manager = ExperimentManager(registry, experiment_name="hokusai demo")
        self._ledger = Ledger()
        self._training = DigitsTraining()
        self._checks: list[Check] = []
        self._registration_seconds = 0.0

    def run(self) -> DemoReport:
        """Act."""
        say = self._console.print
        self._manager.search_runs()  # loads MLflow, which takes seconds of its own
        say(f"Training on scikit-learn's digits: {_KILLED_AFTER} steps with the server in health.")
        run = self._start(_TRAINING_RUN, nested=False)
        run.log_params(self._training.hyperparameters)
        run.set_tags({"phase": "healthy", "data": "digits"})
        self._train(run, range(_KILLED_AFTER))

        say("Killing the server and all its workers (SIGKILL), in the middle of the training.")
        self._server.kill()
        away_since = time.monotonic()
        before = self._ledger.calls
        say(f"Going on with {_STEPS - _KILLED_AFTER} more steps.")
        self._train(run, range(_KILLED_AFTER, _STEPS))
        child_id = self._finish_training(run)
        entry = self._register()
        logged = self._ledger.calls - before

        say("Starting the server again (some seconds).")
        self._server.start()
        away = time.monotonic() - away_since
        say("Delivering what waits, as `hokusai sync` does.")
        delivered = self._sync()
        self._check("everything was delivered", delivered.complete and not delivered.dead)
        say("Asking the server itself what it holds.")
        counts = self._count("first")
        self._check_ids(child_id, entry)
        self._check_second_sync(counts)
        return DemoReport(
            counts=counts,
            checks=tuple(self._checks),
            slowest_call=self._ledger.slowest_call,
            slowest_seconds=round(self._ledger.slowest_seconds, 3),
            registration_seconds=round(self._registration_seconds, 3),
            outage_seconds=round(away, 3),
            logged_in_outage=logged,
            delivered_by_sync=delivered.delivered,
        )

    def _start(self, name: str, *, nested: bool) -> RecordedRun:
        parent = _TRAINING_RUN if nested else ""
        entry = self._ledger.runs[name] = RunLedger(name, parent=parent)
        handle = self._ledger.timed(
            "start_run", lambda: self._manager.start_run(run_name=name, nested=nested)
        )
        return RecordedRun(handle, entry, self._ledger)

    def _train(self, run: RecordedRun, steps: range) -> None:
        for step in steps:
            run.log_metrics(self._training.step(), step)

    def _finish_training(self, run: RecordedRun) -> str:
        """Log results and a child run while the server is away; give the child's id."""
        run.set_tags({"phase": "outage"})
        run.log_text(self._training.confusion_json(), "results/confusion.json")
        drawing = self._folder / "confusion.png"
        if self._training.draw_confusion(drawing):
            run.log_file(drawing.read_bytes(), str(drawing), drawing.name)
        child = self._start(_CHILD_RUN, nested=True)
        child.log_params({"data": "test images"})
        for digit, row in enumerate(self._training.confusion_matrix()):
            child.log_metrics({"recall": row[digit] / sum(row)}, digit)
        child.end()
        run.end()
        self._console.print(
            f"Logged a child run; until it is delivered its id is {child.handle.run_id}."
        )
        self._check("a run that waits can be read", self._reads(child.handle.run_id, _CHILD_RUN))
        return child.handle.run_id

    def _register(self) -> ModelRegistryEntry:
        """Register the model while the server is away, and read it back."""
        began = time.perf_counter()
        entry = self._registry.register_baseline(
            model=self._training.model,
            model_type=_MODEL,
            metrics={"test_accuracy": self._training.accuracy()},
        )
        self._registration_seconds = time.perf_counter() - began
        name = f"register {_MODEL}"
        self._ledger.runs[name] = RunLedger(name)
        self._ledger.models.add(_MODEL)
        self._ledger.versions[entry.model_id] = _MODEL
        self._ledger.timed(
            "set_alias",
            lambda: self._registry.set_alias(_MODEL, _ALIAS, entry.registry_version),
        )
        self._ledger.aliases[_ALIAS] = entry.model_id
        self._console.print(f"Registered the model as {entry.model_uri} ({entry.sync_state}).")
        found = self._registry.get_model_by_id(entry.model_id)
        self._check("the model's registration waits", entry.sync_state == "pending")
        self._check("a version that waits can be read", found.model_uri == entry.model_uri)
        self._check("a model that waits predicts the same", self._predicts(entry.model_uri))
        return entry

    def _check_ids(self, child_id: str, entry: ModelRegistryEntry) -> None:
        version = self._registry.get_model_version(_MODEL, entry.registry_version)
        self._check("a provisional run id still resolves", self._reads(child_id, _CHILD_RUN))
        self._check(
            "a provisional version id still resolves",
            version.tags.get("model_id") == entry.model_id and version.sync_state == "delivered",
        )
        self._check("its old URI loads the same model", self._predicts(entry.model_uri))
        self._check("its alias loads the same model", self._predicts(f"models:/{_MODEL}@{_ALIAS}"))

    def _check_second_sync(self, before: tuple[Count, ...]) -> None:
        again = self._sync()
        unchanged = not again.delivered and not again.dead and self._count("second") == before
        self._check("a second sync changes nothing", unchanged)

    def _sync(self) -> DrainReport:
        runtime = self._registry.runtime
        with SyncProgress(self._console, runtime) as progress:
            return runtime.drain().run(
                wait_seconds=_SYNC_WAIT_SECONDS, stop=threading.Event(), on_progress=progress
            )

    def _count(self, name: str) -> tuple[Count, ...]:
        return Audit(self._server.url, self._ledger, self._folder / "audit" / name).counts()

    def _reads(self, run_id: str, name: str) -> bool:
        return self._manager.get_run(run_id).info.run_name == name

    def _predicts(self, model_uri: str) -> bool:
        loaded: Any = self._registry.load_model(model_uri)
        digits = [int(digit) for digit in loaded.predict(self._training.test_images)]
        return digits == self._training.predictions()

    def _check(self, what: str, right: bool) -> None:
        self._checks.append(Check(what=what, right=right))


def _settings(folder: Path, database_url: str) -> Settings:
    """Give the settings of the demo: its own journal, and nothing delivered before the sync.

    The circuit opens for a short time only, as the demo knows that the server is back.
    """
    return Settings.load(
        backend="mlflow",
        fallback="sql",
        auto_sync=False,
        database_url=database_url,
        data_dir=folder / "data",
        circuit_open_max_seconds=2.0,
    )


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """Give a folder that other users can reach (as root, PostgreSQL is another one)."""
    folder = Path(tempfile.mkdtemp(prefix="hokusai-demo-"))
    folder.chmod(0o755)
    kept = False
    try:
        yield folder
        kept = keep
    finally:
        if not kept:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder, also while a database that is about to end still writes into it."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVAL_PAUSE_SECONDS)
