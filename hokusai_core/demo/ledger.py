"""What the demo has logged, written down beside the logging: what must be found in the end."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from hokusai_core.run_handle import RunHandle

T = TypeVar("T")

Point = tuple[str, int, float]
"""One metric value: key, step, value."""


@dataclass
class RunLedger:
    """What one run must hold: ``artifacts`` maps paths to the SHA-256 of their bytes."""

    name: str
    status: str = "FINISHED"
    parent: str = ""
    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)


@dataclass
class Ledger:
    """What the server must hold: runs by name, versions by ``model_id`` tag, aliases by name."""

    runs: dict[str, RunLedger] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    slowest_call: str = ""
    slowest_seconds: float = 0.0

    def timed(self, name: str, call: Callable[[], T]) -> T:
        """Make a call and remember it if it is the slowest so far."""
        self.calls += 1
        began = time.perf_counter()
        try:
            return call()
        finally:
            seconds = time.perf_counter() - began
            if seconds > self.slowest_seconds:
                self.slowest_call, self.slowest_seconds = name, seconds


class RecordedRun:
    """A run handle whose every write is entered in the ledger.

    Args:
        handle: The run.
        entry: Its page in the ledger.
        ledger: The ledger, for the times.
    """

    def __init__(self, handle: RunHandle, entry: RunLedger, ledger: Ledger) -> None:
        self.handle = handle
        self._entry = entry
        self._ledger = ledger

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log values of one step."""
        self._ledger.timed("log_metrics", lambda: self.handle.log_metrics(metrics, step=step))
        self._entry.points += [(key, step, value) for key, value in metrics.items()]

    def log_params(self, params: dict[str, object]) -> None:
        """Log params."""
        self._ledger.timed("log_params", lambda: self.handle.log_params(params))
        self._entry.params |= {key: str(value) for key, value in params.items()}

    def set_tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        self._ledger.timed("set_tags", lambda: self.handle.set_tags(tags))
        self._entry.tags |= tags

    def log_text(self, text: str, path: str) -> None:
        """Log a text as an artifact."""
        self._ledger.timed("log_text", lambda: self.handle.log_text(text, path))
        self._entry.artifacts[path] = hashlib.sha256(text.encode()).hexdigest()

    def log_file(self, content: bytes, local_path: str, name: str) -> None:
        """Log a local file with this content as an artifact."""
        self._ledger.timed("log_artifact", lambda: self.handle.log_artifact(local_path))
        self._entry.artifacts[name] = hashlib.sha256(content).hexdigest()

    def end(self) -> None:
        """End the run."""
        self._ledger.timed("end", self.handle.end)
