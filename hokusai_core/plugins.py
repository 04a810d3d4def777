"""What a plugin hands over: a manifest, and an ``open`` that imports the driver."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hokusai_core.findings import Finding
from hokusai_core.markers import API_VERSION
from hokusai_core.settings import Settings

Capability = Literal["tracking", "registry", "journal", "artifacts", "logged_models"]
"""``tracking``, ``registry``, ``journal``: implements that specification. ``artifacts``: stores
files. ``logged_models``: keeps MLflow 3 logged models (else models are a run's artifacts)."""

Role = Literal["primary", "journal", "spool"]


@dataclass(frozen=True)
class BackendConfig:
    """What a backend is opened with.

    Args:
        settings: All settings; a plugin reads those that concern it.
        role: ``primary``, ``journal`` or ``spool`` (the local journal behind a shared one).
        tracking_uri: Address of the tracking server, "" for the backend's default.
        registry_uri: Address of the registry, "" for the tracking server's.
        api_key: Bearer token of this object, "" for none; never printed.
        data_dir: Folder for local files.

    """

    settings: Settings
    role: Role = "primary"
    tracking_uri: str = ""
    registry_uri: str = ""
    api_key: str = field(default="", repr=False)
    data_dir: Path = Path()


@dataclass(frozen=True)
class BackendPlugin:
    """A backend's static manifest; the object that an entry point in ``hokusai.backends`` names.

    Importing the module that holds it must not import a driver.

    Args:
        name: The backend's name, for messages.
        capabilities: What it can do.
        open: Makes the object with the hook implementations. Imports the driver; does no I/O. The
            object may have a method ``close()`` that closes its connections.
        destination: Gives the identity of the primary that a configuration means: an address
            without credentials.
        requires: Top-level modules that must be importable before ``open``.
        imports: Modules that the first hook call would import: they are imported beforehand, so that
            they take nothing of its time, and no fork falls into the middle of it.
        drivers: Gives the modules that a configuration needs besides. Does no I/O, imports nothing.
        extra: The extra of the distribution that brings them all.
        needs_spool: Says whether the journal that a configuration means is on a server, so that a
            local spool stands behind it. Imports no driver.
        local_folder: Gives a folder beside a journal that is a local file, for what a process has
            accepted and appends in a moment; None where there is no such place. It need not exist. Does
            no I/O, imports no driver.
        mlflow_address: Gives the address under which MLflow's own client reaches the same primary;
            "" where it cannot. Does no I/O.
        own_journal: Whether the backend is its own journal where the user names no fallback.
        in_memory: Whether what it keeps is in the memory of the process that opened it, so that no
            other process can deliver to it or from it.
        examine: Looks at what a configuration means on this machine (credentials, folders), for
            `hokusai doctor`, and for a warning before the first write where the fallback will fail.
            Asks no server, imports no driver, shows no secret; a
            :class:`~hokusai_core.errors.ConfigurationError` that it raises is a finding, too.
        api_version: Version of the hook contracts that the plugin was written for.

    """

    name: str
    capabilities: frozenset[Capability]
    open: Callable[[BackendConfig], object]
    destination: Callable[[BackendConfig], str]
    requires: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    drivers: Callable[[BackendConfig], tuple[str, ...]] = lambda config: ()
    extra: str = ""
    own_journal: bool = False
    in_memory: bool = False
    mlflow_address: Callable[[BackendConfig], str] = lambda config: ""
    needs_spool: Callable[[BackendConfig], bool] = field(default=lambda config: False)
    local_folder: Callable[[BackendConfig], Path | None] = field(default=lambda config: None)
    examine: Callable[[BackendConfig], tuple[Finding, ...]] = field(default=lambda config: ())
    api_version: tuple[int, int] = field(default=API_VERSION)
