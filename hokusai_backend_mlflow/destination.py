"""Which server or database a configuration means, and the name under which its records wait."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from hokusai_core.errors import ConfigurationError
from hokusai_core.machine import is_local, machine_id
from hokusai_core.plugins import BackendConfig
from hokusai_core.web_addresses import names_host

HTTP_SCHEMES = frozenset({"http", "https"})
DATABASE_SCHEMES = frozenset({"sqlite", "postgresql", "mysql", "mssql"})
DEFAULT_PORTS = {"http": 80, "https": 443}

_DATABRICKS_NAMES = frozenset({"databricks", "databricks-uc", "uc"})
"""MLflow's own names of it, beside the scheme ``databricks``."""
_WORKSPACE_VARIABLE = "MLFLOW_WORKSPACE"

NO_SERVER = "No tracking server is set (MLFLOW_TRACKING_URI); MLflow's local default is used."


@dataclass(frozen=True)
class Addresses:
    """Where tracking and registry are: each an ``http(s)`` URL or a database URL.

    ``is_default`` says that nobody gave an address of tracking.
    """

    tracking_uri: str
    registry_uri: str
    is_default: bool = False

    @property
    def shared(self) -> bool:
        """Whether both are the same."""
        return self.tracking_uri == self.registry_uri


def resolve(config: BackendConfig) -> Addresses:
    """Fill in MLflow's defaults, make SQLite paths absolute, and refuse what is not supported.

    Raises:
        ConfigurationError: Saying what is accepted.

    """
    given = config.tracking_uri.strip()
    tracking = _checked(given or _local_default(), "MLFLOW_TRACKING_URI")
    registry = config.registry_uri.strip()
    return Addresses(
        tracking,
        _checked(registry, "MLFLOW_REGISTRY_URI") if registry else tracking,
        is_default=not given,
    )


def describe(config: BackendConfig, addresses: Addresses) -> str:
    """Give the destination: ``HOKUSAI_DESTINATION``, or the addresses without credentials.

    A loopback address and a SQLite file carry the machine's id; MLflow's workspace
    (``MLFLOW_WORKSPACE``) is part of it; so is the registry where it has an address of its own.
    """
    if config.settings.destination:
        return config.settings.destination
    described = _normal(addresses.tracking_uri)
    if not addresses.shared:
        described += f" registry={_normal(addresses.registry_uri)}"
    if workspace := os.environ.get(_WORKSPACE_VARIABLE, "").strip():
        described += f" workspace={workspace}"
    return described


def is_http(uri: str) -> bool:
    """Say whether an address is a server's (else it is a database's)."""
    return _scheme(uri) in HTTP_SCHEMES


def sqlite_file(uri: str) -> Path | None:
    """Give the file of a SQLite address that :func:`resolve` gave; None for any other address."""
    if not _scheme(uri).startswith("sqlite"):
        return None
    return Path(uri.partition(":///")[2].partition("?")[0])


def without_credentials(uri: str) -> str:
    """Give an address without user, password, query and fragment, for messages."""
    parts = urlsplit(uri)
    start = f"{parts.scheme}://" if parts.scheme else ""
    return f"{start}{parts.netloc.rpartition('@')[2]}{parts.path}"


def _checked(uri: str, variable: str) -> str:
    scheme = _scheme(uri)
    dialect = scheme.partition("+")[0]
    if scheme in HTTP_SCHEMES:
        if not names_host(uri):
            raise ConfigurationError(
                f"{variable} has no usable host or port. Give it as http://host:port."
            )
        return uri.rstrip("/")
    if dialect == "sqlite":
        return _absolute_sqlite(uri)
    if dialect in DATABASE_SCHEMES:
        return uri
    if scheme.startswith("databricks") or uri in _DATABRICKS_NAMES:
        raise ConfigurationError(
            f"{variable} names Databricks, which is not supported. Give a server (http://host:port) or "
            "a database (sqlite:////path/mlflow.db, postgresql://...)."
        )
    if scheme in ("", "file") or re.fullmatch(r"[a-z]", scheme):
        raise ConfigurationError(
            f"{variable} names a folder ({without_credentials(uri)}). MLflow's file stores are "
            "not supported. Give a server (http://host:port) or a database "
            "(sqlite:////path/mlflow.db); `mlflow migrate-filestore` moves what is there."
        )
    raise ConfigurationError(
        f"{variable} has the scheme {scheme!r}, which is not supported. Give a server "
        "(http://host:port) or a database (sqlite:////path/mlflow.db, postgresql://...)."
    )


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].lower() if ":" in uri else ""


def _local_default() -> str:
    """MLflow's own default: ``mlflow.db`` in the current folder, where no file store is there."""
    runs = Path("mlruns")
    if any(runs.glob("[0-9]*/meta.yaml")):
        raise ConfigurationError(
            f"No tracking server is set, and the folder {runs.resolve()} holds MLflow's file "
            "store, which is not supported. Set MLFLOW_TRACKING_URI to a server (http://host:port) or "
            "a database (sqlite:////path/mlflow.db)."
        )
    return "sqlite:///mlflow.db"


def _absolute_sqlite(uri: str) -> str:
    head, _, rest = uri.partition(":///")
    path, mark, query = rest.partition("?")
    if not path or path == ":memory:":
        raise ConfigurationError(
            "A SQLite database in memory is gone with its connection. Name a file: "
            "sqlite:////path/mlflow.db."
        )
    return f"{head}:///{Path(unquote(path)).absolute()}{mark}{query}"


def _normal(uri: str) -> str:
    parts = urlsplit(uri)
    scheme = parts.scheme.lower()
    if scheme.startswith("sqlite"):
        return f"{scheme}://{parts.path}@{machine_id()}"
    host = (parts.hostname or "").lower()
    if not host and scheme not in HTTP_SCHEMES:
        host = ",".join(parse_qs(parts.query).get("host", []))  # libpq's way to name a socket
    shown = f"[{host}]" if ":" in host else host
    if parts.port is not None and parts.port != DEFAULT_PORTS.get(scheme):
        shown += f":{parts.port}"
    normal = f"{scheme}://{shown}{parts.path.rstrip('/')}"
    return f"{normal}@{machine_id()}" if is_local(host) else normal
