"""The plugin's manifest; importing it imports neither MLflow nor an HTTP library."""

from hokusai_backend_mlflow import credentials
from hokusai_backend_mlflow.destination import Addresses, describe, resolve
from hokusai_backend_mlflow.examination import examine
from hokusai_core.plugins import BackendConfig, BackendPlugin


def open_backend(config: BackendConfig) -> object:
    """Make the object with the hooks. Does no I/O; MLflow is imported by the first hook call.

    Raises:
        ConfigurationError: For an address that is none of a server or a database, and credentials
            that no request can carry.

    """
    from hokusai_backend_mlflow.backend import MlflowBackend

    return MlflowBackend(config, _usable(config))


def destination(config: BackendConfig) -> str:
    """Give the identity of the server or database that a configuration means.

    Raises:
        ConfigurationError: As :func:`open_backend` does, so that nothing is written before.

    """
    return describe(config, _usable(config))


def mlflow_address(config: BackendConfig) -> str:
    """Give the tracking server's or database's address, with MLflow's defaults filled in."""
    return resolve(config).tracking_uri


def _usable(config: BackendConfig) -> Addresses:
    addresses = resolve(config)
    credentials.check(config, addresses)
    return addresses


plugin = BackendPlugin(
    name="mlflow",
    capabilities=frozenset({"tracking", "registry", "artifacts", "logged_models"}),
    open=open_backend,
    destination=destination,
    mlflow_address=mlflow_address,
    requires=("mlflow",),
    imports=(
        "hokusai_backend_mlflow.mlflow_entities",
        "hokusai_backend_mlflow.stores",
        "hokusai_backend_mlflow.transport",
    ),
    examine=examine,
    extra="mlflow",
)
"""The manifest that the entry point ``mlflow`` names."""
