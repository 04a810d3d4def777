"""Which SQLite files are kept in the data folder."""

from pathlib import Path

from hokusai_core.plugins import BackendConfig


def data_file(config: BackendConfig) -> Path | None:
    """Give the file, with an absolute path, that a configuration means in the data folder.

    The spool is always a file of its own; the others are one file, unless ``HOKUSAI_DATABASE_URL``
    names their database: None.
    """
    if config.role == "spool":
        return _in_folder(config, "spool.db")
    return None if given_url(config) else _in_folder(config, "hokusai.db")


def given_url(config: BackendConfig) -> str:
    """Give ``HOKUSAI_DATABASE_URL``, which may hold a password; "" where it is not set."""
    given = config.settings.database_url
    return given.get_secret_value().strip() if given else ""


def _in_folder(config: BackendConfig, name: str) -> Path:
    folder = config.settings.data_dir if config.data_dir == Path() else config.data_dir
    return (folder / name).expanduser().absolute()
