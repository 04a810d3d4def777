"""The headers that MLflow's providers put on each request of its clients."""

import re
from typing import Any

import mlflow  # noqa: F401 - before its modules (see mlflow_entities)
import requests
from mlflow.tracking.request_header import registry
from mlflow.tracking.request_header.databricks_request_header_provider import (
    DatabricksRequestHeaderProvider,
)
from mlflow.tracking.request_header.default_request_header_provider import (
    DefaultRequestHeaderProvider,
)

_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]")
"""Control characters, and what is not in Latin-1."""


class RequestHeaders:
    """Asks the providers for each request, unless they are MLflow's own and can only say the same.

    To find out that a process is no Databricks notebook takes MLflow a dozen imports that fail, about a
    millisecond, with each request. That does not change while a process runs.
    """

    def __init__(self) -> None:
        self._providers: tuple[Any, ...] = ()
        self._constant: dict[str, str] | None = None

    def current(self) -> dict[str, str]:
        """Give the headers of the next request."""
        # Not in MLflow's public API: without it, the providers are asked each time.
        providers = tuple(getattr(registry, "_request_header_provider_registry", ()))
        if not providers:
            return _resolved()
        if providers != self._providers:
            self._constant = _resolved() if _say_the_same(providers) else None
            self._providers = providers
        return dict(self._constant) if self._constant is not None else _resolved()


def unsendable_header(request: requests.PreparedRequest) -> str:
    """Give the name of a header that cannot be sent, "" where there is none.

    ``requests`` does not look at what an authentication adds, and the connection, open by then, raises
    a plain ``ValueError``.
    """
    for name, value in request.headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if _UNSENDABLE.search(text):
            return str(name)
    return ""


def _say_the_same(providers: tuple[Any, ...]) -> bool:
    return all(
        type(provider) is DefaultRequestHeaderProvider
        or (type(provider) is DatabricksRequestHeaderProvider and not provider.in_context())
        for provider in providers
    )


def _resolved() -> dict[str, str]:
    headers: dict[str, str] = registry.resolve_request_headers()
    return headers
