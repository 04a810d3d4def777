"""Finds the plugins of installed distributions, and says clearly what is wrong with one."""

import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import get_args

from hokusai_core.addresses import as_shown
from hokusai_core.errors import (
    BackendBrokenError,
    BackendNotFoundError,
    BackendNotInstalledError,
    ConfigurationError,
)
from hokusai_core.hookspecs import SPECIFICATIONS
from hokusai_core.installed import installed_entries
from hokusai_core.markers import API_VERSION, ENTRY_POINT_GROUP
from hokusai_core.plugins import BackendConfig, BackendPlugin, Capability


def find_backend(backend: str | BackendPlugin) -> BackendPlugin:
    """Find a plugin by name and check that it can be opened, without importing its driver.

    Raises:
        BackendNotFoundError: No plugin has the name.
        BackendNotInstalledError: The plugin's packages are missing; names the extra.
        BackendBrokenError: It fails to import, is none, is for another contract, or its name is
            claimed by several distributions.

    """
    if isinstance(backend, BackendPlugin):
        plugin = check_manifest(backend, lambda: f"Backend {backend.name!r}, given as an object,")
    else:
        plugin = load_plugin(_entry_point(backend))
    check_installed(plugin, plugin.requires)
    return plugin


def check_drivers(plugin: BackendPlugin, config: BackendConfig) -> None:
    """Check that the drivers of a configuration are installed, without importing them.

    Raises:
        BackendNotInstalledError: One is missing; names the extra.

    """
    check_installed(plugin, plugin.drivers(config))


def destination_of(plugin: BackendPlugin, config: BackendConfig) -> str:
    """Give the identity of the primary that a configuration means, as the plugin tells it.

    Raises:
        ConfigurationError: As the plugin raises it, for a configuration that it refuses.
        BackendBrokenError: The plugin fails to tell it.

    """
    try:
        destination = plugin.destination(config)
    except ConfigurationError:
        raise
    except Exception as cause:
        raise BackendBrokenError(
            f"{described(plugin)} fails to tell its destination: {_told(cause)}. Check its "
            "settings, or upgrade it."
        ) from cause
    if not isinstance(destination, str):
        raise BackendBrokenError(
            f"{described(plugin)} tells {type(destination).__name__} as its destination, not a str. "
            "Upgrade or uninstall it."
        )
    return destination


def open_plugin(plugin: BackendPlugin, config: BackendConfig) -> object:
    """Let a plugin make the object with its hook implementations.

    Raises:
        ConfigurationError: As the plugin raises it, for a configuration that it refuses.
        BackendBrokenError: Its driver fails to import, or the plugin fails in another way.

    """
    try:
        implementation = plugin.open(config)
    except ConfigurationError:
        raise
    except ImportError as cause:
        raise BackendBrokenError(
            f"{described(plugin)} failed to import its driver: {cause}. Reinstall it with: "
            f"{_installation(plugin)}."
        ) from cause
    except Exception as cause:
        raise BackendBrokenError(
            f"{described(plugin)} fails to open: {_told(cause)}. Check its settings, or upgrade it."
        ) from cause
    if implementation is None:
        raise BackendBrokenError(
            f"{described(plugin)} opens None, not an object with hooks: its open() returns nothing. "
            "Upgrade or uninstall it."
        )
    return implementation


def check_installed(plugin: BackendPlugin, modules: tuple[str, ...]) -> None:
    """Check that modules can be imported, without importing them.

    Raises:
        BackendNotInstalledError: One is missing; names what to install.

    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendNotInstalledError(
            f"{described(plugin)} needs {', '.join(missing)}, which is not installed. Run: "
            f"{_installation(plugin)}."
        )


def backend_entries() -> tuple[EntryPoint, ...]:
    """Give the entry points of all plugins that are installed, by name."""
    return installed_entries(ENTRY_POINT_GROUP)


def load_plugin(entry: EntryPoint) -> BackendPlugin:
    """Import the module of a plugin and check its manifest.

    Raises:
        BackendBrokenError: Naming plugin, distribution, version and cause.

    """

    def where() -> str:
        # Not before it is needed: the name is in a file that has to be read and parsed.
        return f"Backend {entry.name!r} of distribution {_distribution(entry)}"

    try:
        plugin = entry.load()
    except Exception as cause:
        raise BackendBrokenError(
            f"{where()} fails to import ({entry.value}): {_told(cause)}. Upgrade or uninstall it."
        ) from cause
    if not isinstance(plugin, BackendPlugin):
        raise BackendBrokenError(
            f"{where()} gives {type(plugin).__name__} ({entry.value}), not a "
            "hokusai_core.plugins.BackendPlugin. Upgrade or uninstall it."
        )
    return check_manifest(plugin, where)


def check_manifest(plugin: BackendPlugin, where: Callable[[], str]) -> BackendPlugin:
    """Check the version of the contract and the capabilities that a manifest names.

    Raises:
        BackendBrokenError: Beginning with what ``where`` gives, which is called only then.

    """
    defect = _defect_of(plugin)
    if defect:
        raise BackendBrokenError(f"{where()} {defect}")
    return plugin


def _defect_of(plugin: BackendPlugin) -> str:
    """Say what is wrong with a manifest, and what to do; "" where nothing is."""
    version: object = plugin.api_version
    if not (
        isinstance(version, tuple)
        and len(version) == 2  # noqa: PLR2004 - major and minor
        and all(isinstance(number, int) for number in version)
    ):
        return f"has api_version {version!r}; it must be two numbers, as in {API_VERSION}."
    if plugin.api_version[0] != API_VERSION[0]:
        older = "it" if plugin.api_version[0] < API_VERSION[0] else "hokusai-tracking"
        return (
            f"was written for hook contract {_dotted(plugin.api_version)}, and this "
            f"release has {_dotted(API_VERSION)}. Upgrade {older}."
        )
    unknown = sorted(set(plugin.capabilities) - set(get_args(Capability)))
    if unknown and not is_newer(plugin):
        return (
            f"declares {', '.join(map(repr, unknown))}, which is no capability; there are "
            f"{', '.join(get_args(Capability))}."
        )
    if not set(plugin.capabilities) & set(SPECIFICATIONS):
        return (
            "declares no specification; its capabilities must hold one of "
            f"{', '.join(SPECIFICATIONS)}."
        )
    return ""


def is_newer(plugin: BackendPlugin) -> bool:
    """Say whether a plugin was written for a later minor version of the contract than this one."""
    return plugin.api_version[1] > API_VERSION[1]


def described(plugin: BackendPlugin) -> str:
    """Name a plugin for a message, with the distribution that it comes from and its version."""
    entry = _entry_of(plugin)
    if entry is None:
        return f"Backend {plugin.name!r}, given as an object,"
    return f"Backend {entry.name!r} of distribution {_distribution(entry)}"


def _entry_of(plugin: BackendPlugin) -> EntryPoint | None:
    """Find the entry point that a loaded plugin comes from; imports nothing."""
    found = [
        entry
        for entry in backend_entries()
        if getattr(sys.modules.get(entry.module), entry.attr, None) is plugin
    ]
    named = [entry for entry in found if entry.name == plugin.name]
    return next(iter(named or found), None)


def _entry_point(name: str) -> EntryPoint:
    matches = [entry for entry in backend_entries() if entry.name == name]
    if not matches:
        installed = sorted({entry.name for entry in backend_entries()})
        raise BackendNotFoundError(
            f"No backend is called {as_shown(name)!r}. Installed: "
            f"{', '.join(installed) or 'none'}. Check HOKUSAI_BACKEND (or "
            "backend=), or install the distribution that brings it."
        )
    if len({entry.value for entry in matches}) > 1:
        claims = ", ".join(f"{_distribution(entry)} ({entry.value})" for entry in matches)
        raise BackendBrokenError(
            f"Backend {name!r} is claimed by more than one distribution: {claims}. Uninstall all "
            "but one."
        )
    return matches[0]


def _installation(plugin: BackendPlugin) -> str:
    entry = _entry_of(plugin)
    name = entry.dist.name if entry and entry.dist else "hokusai-tracking"
    return f"pip install '{name}[{plugin.extra}]'" if plugin.extra else f"pip install '{name}'"


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"


def _told(cause: Exception) -> str:
    return f"{type(cause).__name__}: {cause}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
