"""From a selection to the plugins and configurations that it means."""

import logging

from hokusai_core.backends import check_drivers, find_backend
from hokusai_core.errors import BackendNotInstalledError, ConfigurationError
from hokusai_core.plugins import BackendConfig, BackendPlugin, Role
from hokusai_core.resolution import BackendSelection

logger = logging.getLogger("hokusai")

NO_FALLBACK = "none"
"""The value of ``HOKUSAI_FALLBACK`` that turns the fallback off."""
DEFAULT_FALLBACK = "sql"
"""The fallback where the user names none and the primary is not its own journal."""


def backend_config(selection: BackendSelection, role: Role) -> BackendConfig:
    """Give what a backend is opened with in a role."""
    settings = selection.settings
    return BackendConfig(
        settings=settings,
        role=role,
        tracking_uri=selection.tracking_uri,
        registry_uri=selection.registry_uri,
        api_key=settings.api_key.get_secret_value() if settings.api_key else "",
        data_dir=settings.data_dir,
    )


def journal_plugin(selection: BackendSelection, primary: BackendPlugin) -> BackendPlugin | None:
    """Choose the fallback's plugin; None for no fallback.

    Raises:
        ConfigurationError: The one that was asked for cannot be used.
    """
    if selection.fallback == NO_FALLBACK:
        return None
    if not selection.fallback and primary.own_journal:
        return primary
    try:
        plugin = find_backend(selection.fallback or DEFAULT_FALLBACK)
    except BackendNotInstalledError as missing:
        if selection.fallback_asked:
            raise
        logger.warning("There is no fallback, so an outage will raise errors: %s", missing)
        return None
    if "journal" not in plugin.capabilities:
        raise ConfigurationError(
            f"Backend {plugin.name!r} has no journal, so it cannot be the fallback "
            "(HOKUSAI_FALLBACK). Choose sql, or none."
        )
    check_drivers(plugin, backend_config(selection, "journal"))
    return plugin


def check_for_other_processes(selection: BackendSelection, *plugins: BackendPlugin | None) -> None:
    """See that another process can use what a selection means.

    Raises:
        ConfigurationError: One of the plugins is an object of this process, or keeps its data in it.
    """
    for plugin in plugins:
        if plugin is not None and (plugin.in_memory or plugin is selection.plugin):
            raise ConfigurationError(
                f'auto_sync="process" (HOKUSAI_AUTO_SYNC): no other process can use backend '
                f"{plugin.name!r}, which is an object in the memory of this one. Choose a backend by "
                "its name that keeps its data elsewhere, or leave auto_sync as it is."
            )
