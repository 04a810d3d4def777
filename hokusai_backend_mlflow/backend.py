"""The object with the hook implementations."""

from hokusai_backend_mlflow.client import Client
from hokusai_backend_mlflow.destination import Addresses
from hokusai_backend_mlflow.files import ArtifactHooks
from hokusai_backend_mlflow.models import LoggedModelHooks
from hokusai_backend_mlflow.registry import RegistryHooks
from hokusai_backend_mlflow.tracking import TrackingHooks
from hokusai_core.plugins import BackendConfig


class MlflowBackend(TrackingHooks, ArtifactHooks, LoggedModelHooks, RegistryHooks):
    """MLflow as a primary: a server over HTTP, or a database directly.

    Args:
        config: What the backend was opened with.
        addresses: Where tracking and registry are.

    """

    def __init__(self, config: BackendConfig, addresses: Addresses) -> None:
        self._client = Client(config, addresses)
