"""``hokusai db``: care of the journal's database."""

import typer

from hokusai_core.backends import find_backend, open_backend
from hokusai_core.cli.options import command_settings
from hokusai_core.errors import ConfigurationError
from hokusai_core.plugins import BackendConfig
from hokusai_core.selected_plugins import DEFAULT_FALLBACK, NO_FALLBACK

database = typer.Typer(help="Care of the journal's database.", no_args_is_help=True)
"""The commands below ``hokusai db``."""


@database.callback()
def about() -> None:
    """Care of the journal's database."""


@database.command()
def upgrade() -> None:
    """Bring the tables of the configured journal up to this release. Harmless to repeat."""
    settings = command_settings()
    name = settings.fallback.lower() or DEFAULT_FALLBACK
    if name == NO_FALLBACK:
        raise ConfigurationError("There is no journal to upgrade (HOKUSAI_FALLBACK=none).")
    plugin = find_backend(name)
    if "journal" not in plugin.capabilities:
        raise ConfigurationError(
            f"Backend {name!r} has no journal, so it cannot be the fallback (HOKUSAI_FALLBACK)."
        )
    config = BackendConfig(settings=settings, role="journal", data_dir=settings.data_dir)
    journal = open_backend(plugin, config).journal
    try:
        revision = journal.journal_upgrade()
    finally:
        journal.journal_close()
    typer.echo(f"{plugin.destination(config)} is at revision {revision}.")
