"""Keeps what a request was sent with out of messages: a proxy may repeat it in its answer."""

import base64
import binascii
from collections.abc import Collection, Iterator
from urllib.parse import unquote

import requests

from hokusai_core.addresses import hide_credentials
from hokusai_core.errors import BackendError

_HARMLESS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "user-agent",
        "x-mlflow-workspace",
    }
)
"""Headers that hold no secret; all others may, those of header plugins among them."""


def secrets_of(request: requests.PreparedRequest) -> frozenset[str]:
    """Give every text of a request that may be a secret, or a form of one."""
    return frozenset(_secrets(request))


def without_secrets(failure: BackendError, secrets: Collection[str]) -> BackendError:
    """Take out of an error's message whatever it repeats of the request's credentials."""
    failure.args = (hide_credentials(str(failure), secrets), *failure.args[1:])
    return failure


def _secrets(request: requests.PreparedRequest) -> Iterator[str]:
    for name, value in request.headers.items():
        if name.lower() in _HARMLESS:
            continue
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        yield text
        scheme, _, credentials = text.partition(" ")
        yield credentials
        if scheme.lower() == "basic":
            yield from _password(credentials)


def _password(credentials: str) -> Iterator[str]:
    try:
        decoded = base64.b64decode(credentials, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return
    yield decoded
    password = decoded.partition(":")[2]
    yield password
    yield unquote(password)
