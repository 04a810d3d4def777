"""``ModelRegistry``: registered models, their versions, aliases and tags."""

import importlib
import logging
from collections.abc import Iterable
from typing import Any

from hokusai_core.errors import BackendNotInstalledError, ConfigurationError
from hokusai_core.experiments import ExperimentManager
from hokusai_core.model_sources import ModelSources
from hokusai_core.resolution import select_backends, settings_with, sort_arguments
from hokusai_core.run_handle import RunHandle
from hokusai_core.runtime import Runtime
from hokusai_core.settings import Delivery, Durability, Settings
from hokusai_core.tokenized_models import TokenizedModels

logger = logging.getLogger("hokusai")

REGISTRATION_EXPERIMENT = "hokusai_model_registrations"
"""The experiment of the runs that hold models which were registered as objects."""


class ModelRegistry(TokenizedModels):
    """Registers models and finds them again.

    Safe to use from several threads. Making one does no I/O.

    Args:
        tracking_uri: Address of the MLflow server; not given, settings decide.
        api_key: Key of the Hokusai endpoint, sent as a bearer token by this object only.
        api_endpoint: The Hokusai endpoint.
        auth: An object with ``api_key`` and ``api_endpoint``, in the place of the two.
        backend: Name of the backend, its plugin, or a mock backend; not given, settings decide.
        settings: All settings; not given, they are read from the environment.
        delivery: ``direct`` or ``queued``; not given, settings decide (``HOKUSAI_DELIVERY``).
        durability: ``machine``, ``process`` or ``relaxed``; not given, settings decide
            (``HOKUSAI_DURABILITY``).
        observers: Are told of what happens to the registry, and to what waits for it, in this
            process: see :class:`~hokusai_core.observer_hooks.ObserverHooks`.
        former: What older releases took besides; it has no effect, which a warning says.

    Raises:
        ConfigurationError: An argument or setting is wrong, or a backend cannot be used.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        api_key: str | None = None,
        api_endpoint: str | None = None,
        auth: Any = None,
        *,
        backend: object = None,
        settings: Settings | None = None,
        delivery: Delivery | None = None,
        durability: Durability | None = None,
        observers: Iterable[object] = (),
        **former: Any,
    ) -> None:
        if former:
            logger.warning(
                "ModelRegistry no longer takes %s: it has no effect. See `settings=` for what can be "
                "set.",
                ", ".join(sorted(former)),
            )
        if tracking_uri is not None and not isinstance(tracking_uri, str):
            raise ConfigurationError(
                f"tracking_uri must be a str, not {type(tracking_uri).__name__}."
            )
        given = sort_arguments(None, tracking_uri, None, None)
        if auth is not None:
            api_key = api_key or getattr(auth, "api_key", None)
            api_endpoint = api_endpoint or getattr(auth, "api_endpoint", None) or None
        selection = select_backends(
            settings=settings_with(
                settings,
                api_key=api_key,
                api_endpoint=api_endpoint,
                delivery=delivery,
                durability=durability,
            ),
            tracking_uri=given.tracking_uri,
            backend=backend,
        )
        self.runtime = Runtime.shared(selection)
        self.runtime.observers.add(observers)
        self._sources = ModelSources(self.runtime, self._start_registration_run)

    def __repr__(self) -> str:
        return f"<ModelRegistry on {self.runtime.destination}>"

    @property
    def tracking_uri(self) -> str:
        """Address of the tracking server; its identity where the backend's default is used."""
        return self.runtime.selection.tracking_uri or self.runtime.destination

    @property
    def client(self) -> Any:
        """A plain ``MlflowClient`` of the same server, for what this class does not offer.

        It is MLflow's own: its calls are not kept in an outage, have MLflow's time limits, and take
        credentials from the environment only.

        Raises:
            ConfigurationError: The backend is not MLflow.
        """
        if self.runtime.selection.backend != "mlflow":
            raise ConfigurationError(
                f"Backend {self.runtime.selection.backend!r} has no MLflow client; use the methods "
                "of ModelRegistry, which are the same on every backend."
            )
        try:
            tracking = importlib.import_module("mlflow.tracking")
        except ImportError as cause:
            raise BackendNotInstalledError(
                "MLflow is not installed. Run: pip install 'hokusai-tracking[mlflow]'."
            ) from cause
        selection = self.runtime.selection
        return tracking.MlflowClient(
            tracking_uri=selection.tracking_uri or None,
            registry_uri=selection.registry_uri or selection.tracking_uri or None,
        )

    def _start_registration_run(self, run_name: str) -> RunHandle:
        manager = ExperimentManager(self, experiment_name=REGISTRATION_EXPERIMENT)
        return manager.start_run(run_name=run_name)
