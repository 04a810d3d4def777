"""``hokusai db``: care of the journal's database."""

import typer

from hokusai_core.backends import OpenBackend, destination_of, find_backend, open_backend
from hokusai_core.cli.options import command_settings
from hokusai_core.cli.output import console
from hokusai_core.errors import ConfigurationError
from hokusai_core.plugins import BackendConfig, BackendPlugin
from hokusai_core.resolution import select_backends
from hokusai_core.selected_plugins import DEFAULT_FALLBACK, NO_FALLBACK, backend_config

database = typer.Typer(help="Care of the journal's database.", no_args_is_help=True)
"""The commands below ``hokusai db``."""


@database.callback()
def about() -> None:
    """Care of the journal's database."""


@database.command()
def upgrade() -> None:
    """Bring the tables of the configured journal up to this release. Harmless to repeat.

    Without a journal, those of the primary, where it is a database of this library's own.
    """
    plugin, config = _meant()
    opened = open_backend(plugin, config)
    if config.role == "primary":
        # The hook that upgrades is one of a journal's.
        opened = OpenBackend(plugin, opened.implementation, "journal")
    try:
        revision = opened.journal.journal_upgrade()
    finally:
        opened.journal.journal_close()
    console().print(f"{destination_of(plugin, config)} is at revision {revision}.")


def _meant() -> tuple[BackendPlugin, BackendConfig]:
    """Give what has tables to upgrade, and how it is opened."""
    settings = command_settings()
    name = settings.fallback.lower() or DEFAULT_FALLBACK
    if name == NO_FALLBACK:
        selection = select_backends(settings=settings)
        primary = find_backend(selection.backend)
        if "journal" in primary.capabilities:
            return primary, backend_config(selection, "primary")
        raise ConfigurationError(
            "There is no journal to upgrade (HOKUSAI_FALLBACK=none), and backend "
            f"{primary.name!r} has no tables of this library."
        )
    plugin = find_backend(name)
    if "journal" not in plugin.capabilities:
        raise ConfigurationError(
            f"Backend {name!r} has no journal, so it cannot be the fallback (HOKUSAI_FALLBACK)."
        )
    return plugin, BackendConfig(settings=settings, role="journal", data_dir=settings.data_dir)
