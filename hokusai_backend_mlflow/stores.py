"""MLflow's own stores, with our way of sending in the place of theirs.

Their methods build requests and read answers exactly as a plain client does; the errors that come
out are the core's.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import mlflow  # noqa: F401 - before its modules (see mlflow_entities)
from mlflow.protos.service_pb2 import LogBatch, MlflowService
from mlflow.store.model_registry.rest_store import RestStore as RegistryRestStore
from mlflow.store.tracking.rest_store import RestStore as TrackingRestStore
from mlflow.utils.rest_utils import extract_api_info_for_service
from pydantic_core import to_json

from hokusai_backend_mlflow.errors import from_mlflow
from hokusai_backend_mlflow.transport import Transport
from hokusai_core.clock import Deadline
from hokusai_core.errors import BackendError
from hokusai_core.operations import LogBatch as BatchOperation

_ENDPOINTS: dict[Any, tuple[str, str]] = extract_api_info_for_service(MlflowService, "/api/2.0")
_READS = ("Get", "Search", "List")


class StoreFactory(Protocol):
    """Gives the store that one hook call uses."""

    def __call__(self, deadline: Deadline) -> Any:
        """Give a store whose calls end by the deadline."""


class BoundedTrackingStore(TrackingRestStore):  # type: ignore[misc]
    """The tracking API of a server, for one hook call.

    Args:
        transport: The way to the server.
        deadline: When the hook call has to be over.

    """

    def __init__(self, transport: Transport, deadline: Deadline) -> None:
        super().__init__(transport.host_creds)
        self._transport = transport
        self._deadline = deadline

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | bytes | None = None,
        *_: Any,
        **kwargs: Any,
    ) -> Any:
        endpoint, method = _ENDPOINTS[api]
        return self._transport.call(
            kwargs.get("endpoint") or endpoint,
            method,
            json_body,
            kwargs.get("response_proto") or api.Response(),
            self._deadline,
            writes=_writes(api),
        )

    def send_batch(self, operation: BatchOperation) -> None:
        """Send the body that MLflow's ``log_batch`` sends, built without its entities and messages.

        Those take most of the time that a client spends on a thousand metrics.
        """
        body: dict[str, Any] = {
            "run_id": operation.run_id,
            "metrics": operation.metrics,
            "params": [{"key": key, "value": value} for key, value in operation.params.items()],
            "tags": [{"key": key, "value": value} for key, value in operation.tags.items()],
        }
        given = {name: value for name, value in body.items() if value}
        self._call_endpoint(LogBatch, to_json(given, inf_nan_mode="strings"))


class BoundedRegistryStore(RegistryRestStore):  # type: ignore[misc]
    """The model registry API of a server, for one hook call.

    Args:
        transport: The way to the server.
        deadline: When the hook call has to be over.

    """

    def __init__(self, transport: Transport, deadline: Deadline) -> None:
        super().__init__(transport.host_creds)
        self._transport = transport
        self._deadline = deadline

    def _call_endpoint(self, api: Any, json_body: str | None = None, *_: Any, **kwargs: Any) -> Any:
        endpoint, method = self._get_endpoint_from_method(api)
        return self._transport.call(
            endpoint,
            method,
            json_body,
            api.Response(),
            self._deadline,
            writes=_writes(api),
            extra_headers=kwargs.get("extra_headers"),
        )


class TranslatingStore:
    """A database store of MLflow's whose methods raise the core's errors.

    Args:
        store: The store.
        what: What it is, for messages.
        ambiguous: Whether an error may come after the effect (a lost answer to a commit).

    """

    def __init__(self, store: Any, what: str, *, ambiguous: bool) -> None:
        self._store = store
        self._what = what
        self._ambiguous = ambiguous

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        @wraps(method)
        def translated(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except BackendError:
                raise
            except Exception as cause:
                raise from_mlflow(
                    cause, f"{name} in {self._what}", ambiguous=self._ambiguous
                ) from cause

        return translated


def _writes(api: Any) -> bool:
    return not str(api.__name__).startswith(_READS)
