"""Opens and lists backends, and gives a typed handle on exactly one."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import (
    BackendBrokenError,
    BackendNotInstalledError,
    ConfigurationError,
)
from hokusai_core.fork_gate import ForkGate
from hokusai_core.hook_binding import bind_hooks
from hokusai_core.hookspecs import (
    Journal,
    OpenContent,
    RegistryBackend,
    TrackingBackend,
)
from hokusai_core.logged_sources import of_logged_model
from hokusai_core.operations import CreateModelVersion, LogArtifact, Operation
from hokusai_core.plugin_loading import (
    backend_entries,
    check_drivers,
    destination_of,
    find_backend,
    load_plugin,
    open_plugin,
)
from hokusai_core.plugins import BackendConfig, BackendPlugin, Role
from hokusai_core.settings import Settings

__all__ = [
    "InstalledBackend",
    "OpenBackend",
    "check_drivers",
    "destination_of",
    "find_backend",
    "installed_backends",
    "open_backend",
]

Carrier = Callable[[Any, Deadline], Receipt]
"""Carries out an operation within a deadline."""

_SPECIFICATIONS_OF: dict[Role, tuple[str, ...]] = {
    "primary": ("tracking", "registry"),
    "journal": ("journal",),
    "spool": ("journal",),
}


_IMPORTING = ForkGate(timeout=30.0)
"""Drivers are imported by background threads, too, and a fork must not fall into the middle of it."""


@dataclass(frozen=True)
class InstalledBackend:
    """One line of ``hokusai backends``: a plugin, where it comes from, and whether it is usable."""

    name: str
    distribution: str
    version: str
    capabilities: tuple[str, ...]
    state: str


class OpenBackend:
    """A typed handle on one opened backend, whose hooks are bound once and called directly.

    Args:
        plugin: The manifest.
        implementation: The object with the hook implementations.
        role: Which of the specifications are used: those of a primary, or that of a journal.
        destination: Identity of the primary; "" for a journal.

    Attributes:
        on_write: Called after each write with the operation, the seconds that it took, and its
            error; None (the default) measures nothing. It must not raise.
    """

    def __init__(
        self,
        plugin: BackendPlugin,
        implementation: object,
        role: Role = "primary",
        destination: str = "",
    ) -> None:
        self.plugin = plugin
        self.name = plugin.name
        self.implementation = implementation
        self.destination = destination
        self.on_write: Callable[[Operation, float, BaseException | None], None] | None = None
        hooks = bind_hooks(plugin, implementation, _SPECIFICATIONS_OF[role])
        self._carriers: dict[str, Carrier] = {}
        self._hooks = hooks
        self.tracking = cast("TrackingBackend", hooks)
        self.registry = cast("RegistryBackend", hooks)
        self.journal = cast("Journal", hooks)

    def can(self, capability: str) -> bool:
        """Say whether the backend declares a capability."""
        return capability in self.plugin.capabilities

    def load_driver(self) -> None:
        """Import what the plugin needs, for its first call not to spend its time on that.

        Raises:
            BackendBrokenError: A module fails to import.
        """
        for module in (*self.plugin.requires, *self.plugin.imports):
            try:
                with _IMPORTING.inside():
                    importlib.import_module(module)
            except ImportError as cause:
                raise BackendBrokenError(
                    f"Backend {self.name!r} failed to import {module}: {cause}. Reinstall it."
                ) from cause

    def close(self) -> None:
        """Let the backend close its connections, if it has a method ``close``; it may be used again."""
        close = getattr(self.implementation, "close", None)
        if callable(close):
            close()

    def carry(self, kind: str, carrier: Carrier) -> None:
        """Let a kind of operation that is not for the backend be carried out by ``carrier``."""
        self._carriers[kind] = carrier

    def write(
        self, operation: Operation, deadline: Deadline, open_content: OpenContent | None = None
    ) -> Receipt:
        """Carry out an operation with the hook of its kind, or with what :meth:`carry` was given.

        A version whose source names a logged model by its run becomes one of that model.
        """
        if carrier := self._carriers.get(operation.kind):
            return carrier(operation, deadline)
        if self.on_write is None:
            return self._write(operation, deadline, open_content)
        began = time.perf_counter()
        try:
            receipt = self._write(operation, deadline, open_content)
        except BaseException as failure:
            self.on_write(operation, time.perf_counter() - began, failure)
            raise
        self.on_write(operation, time.perf_counter() - began, None)
        return receipt

    def _write(
        self, operation: Operation, deadline: Deadline, open_content: OpenContent | None
    ) -> Receipt:
        hook = getattr(self._hooks, operation.hook)
        if isinstance(operation, CreateModelVersion):
            operation = of_logged_model(self, operation, deadline)
        if isinstance(operation, LogArtifact):
            receipt = hook(operation, open_content, deadline)
        else:
            receipt = hook(operation, deadline)
        return cast("Receipt", receipt)


def open_backend(backend: str | BackendPlugin, config: BackendConfig) -> OpenBackend:
    """Open a backend by its name, or from a manifest that the caller has.

    Raises:
        BackendNotFoundError: No plugin has the name.
        BackendNotInstalledError: The plugin's packages are missing; names the extra.
        BackendBrokenError: The plugin fails to import or to open, or breaks the hook contract.
        ConfigurationError: The plugin refuses the configuration.

    """
    plugin = find_backend(backend)
    check_drivers(plugin, config)
    destination = destination_of(plugin, config) if config.role == "primary" else ""
    with _IMPORTING.inside():
        implementation = open_plugin(plugin, config)
    return OpenBackend(plugin, implementation, config.role, destination)


def installed_backends(*, check: bool = False) -> tuple[InstalledBackend, ...]:
    """List every plugin that is installed, broken ones with what is wrong with them.

    Args:
        check: Open each one, too, so that its hooks are checked; this imports its driver.

    """
    found = []
    for entry in backend_entries():
        capabilities: tuple[str, ...] = ()
        try:
            plugin = load_plugin(entry)
            capabilities = tuple(sorted(plugin.capabilities))
            find_backend(entry.name)
            if check:
                _try_out(plugin)
            state = "ready"
        except BackendNotInstalledError as cause:
            state = f"not installed: {cause}"
        except BackendBrokenError as cause:
            state = f"broken: {cause}"
        except ConfigurationError as cause:
            state = f"not configured: {cause}"
        found.append(
            InstalledBackend(
                name=entry.name,
                distribution=entry.dist.name if entry.dist else "?",
                version=entry.dist.version if entry.dist else "?",
                capabilities=capabilities,
                state=state,
            )
        )
    return tuple(found)


def _try_out(plugin: BackendPlugin) -> None:
    """Open a plugin in each role that it declares; opening does no I/O."""
    settings = Settings.load()
    for role, specifications in _SPECIFICATIONS_OF.items():
        if role != "spool" and plugin.capabilities & set(specifications):
            config = BackendConfig(settings, role=role, data_dir=settings.data_dir)
            open_backend(plugin, config).close()
