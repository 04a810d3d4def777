"""A primary with its journal, as the behaviour tests use it: whatever the backend, the same calls."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hokusai_core import ExperimentManager, ModelRegistry, Settings


@dataclass
class Stack:
    """One backend under test.

    Args:
        settings: Of every manager and registry.
        go_away: Makes the primary refuse; None where that cannot be done.
        come_back: Makes it answer again.
        backend: What ``backend=`` gets.
        tracking_uri: Address of the primary.
    """

    settings: Settings
    go_away: Callable[[], None] | None
    come_back: Callable[[], None]
    backend: object = None
    tracking_uri: str | None = None
    name: str = field(default_factory=lambda: f"behaviour {uuid.uuid4().hex[:12]}")

    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.tracking_uri, backend=self.backend, settings=self.settings)

    def manager(self, name: str | None = None) -> ExperimentManager:
        return ExperimentManager(self.registry(), experiment_name=name or self.name)

    def model_name(self) -> str:
        return f"model {uuid.uuid4().hex[:12]}"

    @contextmanager
    def outage(self) -> Iterator[None]:
        assert self.go_away is not None
        self.go_away()
        try:
            yield
        finally:
            self.come_back()
