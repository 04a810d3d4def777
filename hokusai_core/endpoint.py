"""Requests to the Hokusai endpoint: within a budget, with the key, failures as the library's errors."""

import json
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from time import time
from typing import IO, Any

from hokusai_core.addresses import without_credentials
from hokusai_core.clock import Deadline
from hokusai_core.errors import (
    AuthenticationError,
    BackendError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.settings import Settings

_MOST_BYTES = 1 << 20
_SHOWN_CHARACTERS = 300
_LEAST_SECONDS = 0.01
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TIMEOUT, _CONFLICT, _TOO_MANY = 401, 403, 404, 408, 409, 429
_REDIRECTS = range(300, 400)
_REFUSALS = range(400, 500)


class Endpoint:
    """The Hokusai endpoint. Nothing is tried again here.

    Args:
        settings: Its ``api_key``; a request takes at most ``write_timeout``.
        address: Not given, ``api_endpoint`` of the settings, which takes nobody without a key.
    """

    def __init__(self, settings: Settings, address: str | None = None) -> None:
        self._settings = settings
        self._base = without_credentials(address or settings.api_endpoint).rstrip("/")
        self._key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._needs_key = address is None

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> dict[str, Any]:
        """Send a JSON object and give the JSON object that is the answer; {} where it is empty.

        Args:
            path: Below the endpoint, such as ``/api/v1/models/baseline``.
            body: What to send.
            headers: More headers.
            deadline: Not given, ``write_timeout`` from now.

        Raises:
            AuthenticationError: There is no key, or the endpoint does not accept it (401).
            PermissionDeniedError: The key may not do this (403).
            RateLimitedError: The endpoint asks to come back later (429).
            UnavailableError: No usable answer: not reached, too slow, 408, 5xx, a redirect, not JSON.
            PermanentError: Any other refusal (4xx).
        """
        what = f"POST {self._base}{path}"
        if self._needs_key and not self._key:
            raise AuthenticationError(f"{what} needs a key. Set HOKUSAI_API_KEY, or pass api_key=.")
        request = urllib.request.Request(
            f"{self._base}{path}",
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
                **(headers or {}),
            },
            method="POST",
        )
        return self._bounded(
            request, what, (deadline or Deadline(self._settings.write_timeout)).remaining()
        )

    def _bounded(
        self, request: urllib.request.Request, what: str, seconds: float
    ) -> dict[str, Any]:
        """Wait for the answer no longer than the budget: name resolution and drips included."""
        outcome: queue.Queue[dict[str, Any] | BaseException] = queue.Queue()

        def ask() -> None:
            try:
                outcome.put(_ask(request, what, max(seconds, _LEAST_SECONDS), self._key))
            except BaseException as failure:  # noqa: BLE001 - it is raised in the caller's thread
                outcome.put(failure)

        try:
            threading.Thread(target=ask, name="hokusai-endpoint", daemon=True).start()
        except RuntimeError as cause:
            raise UnavailableError(f"{what}: not sent, because the process is ending.") from cause
        try:
            answer = outcome.get(timeout=seconds)
        except queue.Empty as cause:
            raise UnavailableError(
                f"{what}: no answer after {seconds:g} s (HOKUSAI_WRITE_TIMEOUT); it may have been "
                "carried out all the same.",
                maybe_applied=True,
            ) from cause
        if isinstance(answer, BaseException):
            raise answer
        return answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a POST would become a GET of a login page, and the key would go along."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Give no new request, so that the redirect itself is the answer."""


def _ask(request: urllib.request.Request, what: str, seconds: float, key: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(_NoRedirect())
    try:
        with opener.open(request, timeout=seconds) as answer:
            content = answer.read(_MOST_BYTES).strip() or b"{}"
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise _refusal(refusal, what, key) from refusal
    except (OSError, HTTPException) as cause:
        reason = getattr(cause, "reason", cause)
        raise UnavailableError(
            f"{what}: no answer ({type(reason).__name__}). Is the address right, and the service up?",
            maybe_applied=not isinstance(cause, urllib.error.URLError),
        ) from cause
    try:
        values = json.loads(content)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UnavailableError(
            f"{what}: the answer is no JSON object. Is there a proxy or another service at this "
            "address?",
            maybe_applied=True,
        )
    return values


def _refusal(refusal: urllib.error.HTTPError, what: str, key: str) -> BackendError:
    status = refusal.code
    said = f"{what}: HTTP {status}"
    if status == _UNAUTHORIZED:
        return AuthenticationError(f"{said}, the key is not accepted. Check HOKUSAI_API_KEY.")
    if status == _FORBIDDEN:
        return PermissionDeniedError(f"{said}, the key may not do this. Ask for the permission.")
    wait = _retry_after(refusal.headers.get("Retry-After", ""))
    if status == _TOO_MANY:
        return RateLimitedError(f"{said}, come back later.", retry_after=wait)
    if status not in _REFUSALS or status == _TIMEOUT:
        return UnavailableError(
            f"{said}, no usable answer.",
            maybe_applied=status not in _REDIRECTS,
            retry_after=wait,
        )
    try:
        reason = refusal.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException):
        reason = ""
    kinds = {_NOT_FOUND: NotFoundError, _CONFLICT: ConflictError}
    # A service may echo what it was sent; the key goes before the text is cut, or a part would stay.
    shown = reason.replace(key, "***") if key else reason
    return kinds.get(status, RejectedError)(f"{said}: {shown[:_SHOWN_CHARACTERS]}")


def _retry_after(value: str) -> float | None:
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError):
        return None
