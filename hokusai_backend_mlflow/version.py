"""Which version of MLflow answers."""

import re
from typing import TYPE_CHECKING

from hokusai_core.clock import Deadline
from hokusai_core.errors import BackendError

if TYPE_CHECKING:
    from hokusai_backend_mlflow.transport import Transport

_VERSION = re.compile(r"\d+\.\d+[\w.+-]{0,40}")


def server_version(transport: "Transport | None", deadline: Deadline) -> str:
    """Give the server's version, "" where it does not tell; for a database this installation's."""
    if transport is None:
        import mlflow

        return str(mlflow.__version__)
    from hokusai_backend_mlflow.watched_sockets import Watch

    limit = Deadline(deadline.at_most(transport.request_timeout))
    try:
        text = transport.send("GET", "/version", Watch(limit.remaining)).text.strip()
    except BackendError:
        return ""
    return text if _VERSION.fullmatch(text) else ""
