"""What all hooks share: the stores, the transports and the roots of artifacts, built on first use.

This module imports MLflow (over a second) only then, and opens no connection before.
"""

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from hokusai_backend_mlflow.destination import Addresses, is_http, sqlite_file, without_credentials
from hokusai_backend_mlflow.errors import from_mlflow
from hokusai_core.clock import Deadline
from hokusai_core.operations import ArtifactOwner
from hokusai_core.plugins import BackendConfig

if TYPE_CHECKING:
    from hokusai_backend_mlflow.artifacts import ArtifactRoot
    from hokusai_backend_mlflow.stores import StoreFactory
    from hokusai_backend_mlflow.transport import Transport

_REMEMBERED_ROOTS = 1024


class Client:
    """The ways to tracking, registry and artifacts of one configuration.

    Args:
        config: What the backend was opened with.
        addresses: Where tracking and registry are.

    """

    def __init__(self, config: BackendConfig, addresses: Addresses) -> None:
        self._config = config
        self._addresses = addresses
        self._lock = threading.RLock()
        self._transports: dict[str, Transport] = {}
        self._factories: dict[str, StoreFactory] = {}
        self._roots: OrderedDict[ArtifactOwner, str] = OrderedDict()

    @property
    def tracking_shown(self) -> str:
        """The tracking address without credentials."""
        return without_credentials(self._addresses.tracking_uri)

    @property
    def is_default(self) -> bool:
        """Whether nobody gave an address of tracking."""
        return self._addresses.is_default

    @property
    def tracking_file_is_missing(self) -> bool:
        """Whether tracking is a SQLite file that is not there, and that a write can make."""
        file = sqlite_file(self._addresses.tracking_uri)
        if file is None or file.exists():
            return False
        nearest = next(folder for folder in file.parents if folder.exists())
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)

    @property
    def registry_shown(self) -> str:
        """The registry's address without credentials."""
        return without_credentials(self._addresses.registry_uri)

    def tracking(self, deadline: Deadline) -> Any:
        """Give MLflow's tracking store for one hook call."""
        return self._factory("tracking")(deadline)

    def registry(self, deadline: Deadline) -> Any:
        """Give MLflow's registry store for one hook call."""
        return self._factory("registry")(deadline)

    def transport(self, uri: str) -> "Transport | None":
        """Give the way to the server at an address; None for a database."""
        from hokusai_backend_mlflow.transport import Transport

        if not is_http(uri):
            return None
        settings = self._config.settings
        with self._lock:
            if uri not in self._transports:
                self._transports[uri] = Transport(
                    uri, self._config.api_key, settings.connect_timeout, settings.request_timeout
                )
            return self._transports[uri]

    @property
    def tracking_transport(self) -> "Transport | None":
        """The way to the tracking server; None for a database."""
        return self.transport(self._addresses.tracking_uri)

    @property
    def registry_transport(self) -> "Transport | None":
        """The way to the registry's server; None for a database."""
        return self.transport(self._addresses.registry_uri)

    def owner_root(self, owner: ArtifactOwner, deadline: Deadline) -> "ArtifactRoot":
        """Give the files of a run or logged model; its URI is asked for once.

        The deadline bounds the time without progress of each transfer.
        """
        idle = deadline.remaining()
        with self._lock:
            uri = self._roots.get(owner)
        if uri is None:
            store = self.tracking(Deadline(min(idle, self._config.settings.request_timeout)))
            if owner.kind == "run":
                uri = store.get_run(owner.id).info.artifact_uri
            else:
                uri = store.get_logged_model(owner.id).artifact_location
            with self._lock:
                self._roots[owner] = uri
                if len(self._roots) > _REMEMBERED_ROOTS:
                    self._roots.popitem(last=False)
        return self.files(uri, idle)

    def files(self, uri: str, idle_seconds: float) -> "ArtifactRoot":
        """Give the files below a URI."""
        from hokusai_backend_mlflow.artifacts import ArtifactRoot

        return ArtifactRoot(
            uri, self._addresses.tracking_uri, self.tracking_transport, idle_seconds
        )

    def _factory(self, kind: str) -> "StoreFactory":
        with self._lock:
            if kind not in self._factories:
                self._factories[kind] = self._make_factory(kind)
            return self._factories[kind]

    def _make_factory(self, kind: str) -> "StoreFactory":
        from hokusai_backend_mlflow import stores

        tracking = kind == "tracking"
        uri = self._addresses.tracking_uri if tracking else self._addresses.registry_uri
        transport = self.transport(uri)
        if transport is not None:
            bounded = stores.BoundedTrackingStore if tracking else stores.BoundedRegistryStore
            return lambda deadline: bounded(transport, deadline)
        what = f"the {kind} database {without_credentials(uri)}"
        try:
            from hokusai_backend_mlflow import databases
        except ImportError as cause:
            raise from_mlflow(cause, f"Opening {what}", ambiguous=False) from cause
        open_database = (
            databases.open_tracking_database if tracking else databases.open_registry_database
        )
        store = open_database(uri, what, self._config.settings.request_timeout)
        return lambda deadline: store
