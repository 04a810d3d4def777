"""Finds, loads, validates and lists plugins, and gives a typed handle on exactly one."""

import importlib.util
import inspect
from collections.abc import Callable
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import pluggy

from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import (
    BackendBrokenError,
    BackendNotFoundError,
    BackendNotInstalledError,
)
from hokusai_core.hookspecs import (
    SPECIFICATIONS,
    Journal,
    OpenContent,
    RegistryBackend,
    TrackingBackend,
)
from hokusai_core.markers import API_VERSION, ENTRY_POINT_GROUP, PROJECT
from hokusai_core.operations import LogArtifact, Operation
from hokusai_core.plugins import BackendConfig, BackendPlugin, Role

Carrier = Callable[[Any, Deadline], Receipt]
"""Carries out an operation within a deadline."""

_SPECIFICATIONS_OF: dict[Role, tuple[str, ...]] = {
    "primary": ("tracking", "registry"),
    "journal": ("journal",),
    "spool": ("journal",),
}


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
        hooks = _bind(plugin, implementation, _SPECIFICATIONS_OF[role])
        self._carriers: dict[str, Carrier] = {}
        self._hooks = hooks
        self.tracking = cast("TrackingBackend", hooks)
        self.registry = cast("RegistryBackend", hooks)
        self.journal = cast("Journal", hooks)

    def can(self, capability: str) -> bool:
        """Say whether the backend declares a capability."""
        return capability in self.plugin.capabilities

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
        """Carry out an operation with the hook of its kind, or with what :meth:`carry` was given."""
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

    """
    plugin = find_backend(backend)
    check_drivers(plugin, config)
    try:
        destination = plugin.destination(config) if config.role == "primary" else ""
        implementation = plugin.open(config)
    except (BackendBrokenError, BackendNotInstalledError):
        raise
    except ImportError as cause:
        raise BackendBrokenError(
            f"Backend {plugin.name!r} failed to import its driver: {cause}. Reinstall it"
            + (f" with: pip install 'hokusai-tracking[{plugin.extra}]'." if plugin.extra else ".")
        ) from cause
    return OpenBackend(plugin, implementation, config.role, destination)


def find_backend(backend: str | BackendPlugin) -> BackendPlugin:
    """Find a plugin by name and check that it can be opened, without importing its driver."""
    plugin = backend if isinstance(backend, BackendPlugin) else _load(_entry_point(backend))
    _check_installed(plugin, plugin.requires)
    return plugin


def check_drivers(plugin: BackendPlugin, config: BackendConfig) -> None:
    """Check that the drivers of a configuration are installed, without importing them.

    Raises:
        BackendNotInstalledError: One is missing; names the extra.

    """
    _check_installed(plugin, plugin.drivers(config))


def installed_backends() -> tuple[InstalledBackend, ...]:
    """List every plugin that is installed, broken ones with what is wrong with them."""
    found = []
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        distribution = entry.dist.name if entry.dist else "?"
        version = entry.dist.version if entry.dist else "?"
        capabilities: tuple[str, ...] = ()
        try:
            capabilities = tuple(sorted(_load(entry).capabilities))
            find_backend(entry.name)
            state = "ready"
        except BackendNotInstalledError as cause:
            state = str(cause)
        except BackendBrokenError as cause:
            state = f"broken: {cause}"
        found.append(InstalledBackend(entry.name, distribution, version, capabilities, state))
    return tuple(found)


def _check_installed(plugin: BackendPlugin, modules: tuple[str, ...]) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendNotInstalledError(
            f"Backend {plugin.name!r} needs {', '.join(missing)}, which is not installed. Run: "
            f"pip install 'hokusai-tracking[{plugin.extra}]'."
        )


def _entry_point(name: str) -> EntryPoint:
    matches = list(entry_points(group=ENTRY_POINT_GROUP, name=name))
    if not matches:
        installed = sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})
        raise BackendNotFoundError(
            f"No backend is called {name!r}. Installed: {', '.join(installed) or 'none'}. Check "
            "HOKUSAI_BACKEND (or backend=), or install the distribution that brings it."
        )
    if len({entry.value for entry in matches}) > 1:
        claims = ", ".join(
            f"{entry.dist.name if entry.dist else '?'} ({entry.value})" for entry in matches
        )
        raise BackendBrokenError(
            f"Backend {name!r} is claimed by more than one distribution: {claims}. Uninstall all "
            "but one."
        )
    return matches[0]


def _load(entry: EntryPoint) -> BackendPlugin:
    where = f"Backend {entry.name!r} of distribution {_described(entry)}"
    try:
        plugin = entry.load()
    except Exception as cause:
        raise BackendBrokenError(
            f"{where} fails to import ({entry.value}): {type(cause).__name__}: {cause}. Upgrade or "
            "uninstall it."
        ) from cause
    if not isinstance(plugin, BackendPlugin):
        raise BackendBrokenError(
            f"{where} gives {type(plugin).__name__} ({entry.value}), not a "
            "hokusai_core.plugins.BackendPlugin."
        )
    if plugin.api_version[0] != API_VERSION[0]:
        raise BackendBrokenError(
            f"{where} was written for hook contract {plugin.api_version[0]}, and this release has "
            f"{API_VERSION[0]}. Upgrade the one that is older."
        )
    return plugin


def _described(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"


class _Hooks:
    """The bound implementations, as attributes with the hooks' names."""


def _bind(plugin: BackendPlugin, implementation: object, specifications: tuple[str, ...]) -> _Hooks:
    manager = pluggy.PluginManager(PROJECT)
    for specification in SPECIFICATIONS.values():
        manager.add_hookspecs(specification)
    try:
        manager.register(implementation, name=plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as cause:
        raise BackendBrokenError(
            f"Backend {plugin.name!r} does not keep the hook contract: {cause}. Upgrade it, or see "
            "its hooks in the documentation."
        ) from cause
    hooks = _Hooks()
    for capability in specifications:
        if capability not in plugin.capabilities:
            continue
        for name, expected in _hooks_of(SPECIFICATIONS[capability]).items():
            implementations = getattr(manager.hook, name).get_hookimpls()
            if len(implementations) != 1:
                raise BackendBrokenError(
                    f"Backend {plugin.name!r} declares {capability!r} and implements hook {name!r} "
                    f"{len(implementations)} times; it must be once."
                )
            function = implementations[0].function
            given = tuple(inspect.signature(function).parameters)
            if given != expected:
                raise BackendBrokenError(
                    f"Backend {plugin.name!r} implements hook {name!r} with the arguments "
                    f"{', '.join(given)}; it must have {', '.join(expected)}."
                )
            setattr(hooks, name, function)
    return hooks


def _hooks_of(specification: type) -> dict[str, tuple[str, ...]]:
    """The hooks of a specification with their argument names, without ``self``."""
    return {
        name: tuple(inspect.signature(cast("Any", member)).parameters)[1:]
        for name, member in vars(specification).items()
        if not name.startswith("_") and callable(member)
    }
