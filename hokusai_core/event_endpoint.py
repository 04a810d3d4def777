"""Requests to the Hokusai endpoint for events: bounded in time, their failures classified."""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from socket import gaierror
from ssl import SSLError
from typing import Any, NamedTuple

from pydantic import SecretStr

from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt
from hokusai_core.errors import (
    AuthenticationError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.event_operations import AnnounceRegistration

_PATH = "/models/tokenized-registration-events"
_MOST_ANSWER_BYTES = 64 * 1024
_MOST_DETAIL_CHARACTERS = 300
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _REQUEST_TIMEOUT = 401, 403, 429, 408
_NOT_THE_ENDPOINT = frozenset({404, 405})
"""What a load balancer or another service answers where the endpoint should be."""
_NOT_SENT = (ConnectionRefusedError, gaierror, SSLError)
"""Failures before the request: the endpoint has seen nothing of it."""


class _Answer(NamedTuple):
    status: int
    retry_after: str
    body: bytes


class _AnswersAsTheyAre(urllib.request.HTTPErrorProcessor):
    """Lets answers of every status through, and follows no redirect: that would carry the key along."""

    def http_response(self, request: object, response: HTTPResponse) -> HTTPResponse:
        """Give the answer as it is."""
        return response

    https_response = http_response


class EventEndpoint:
    """Where events go.

    Args:
        address: Of the endpoint, with or without ``/api`` at its end; "" for none.
        api_key: Sent as a bearer token; None for none.
        timeout: Longest wait for a connection or for a part of the answer, in seconds.
    """

    def __init__(self, address: str, api_key: SecretStr | None, timeout: float) -> None:
        base = address if address.endswith("/api") else f"{address}/api"
        self.url = f"{base}{_PATH}" if address else ""
        """Where requests go; "" where no endpoint is configured."""
        self._api_key = api_key.get_secret_value() if api_key else ""
        self._timeout = timeout

    def send(self, operation: AnnounceRegistration, deadline: Deadline) -> Receipt:
        """Send an event. A repeat is harmless: the endpoint knows it by its ``Idempotency-Key``.

        Raises:
            TransientError: No usable answer came by the deadline, or no endpoint is configured.
            PermanentError: The endpoint refuses the event, or the key.
        """
        if not self.url:
            raise UnavailableError(
                "No endpoint for registration events is configured here. Set "
                "HOKUSAI_EVENTS_ENDPOINT where events are delivered, too."
            )
        request = urllib.request.Request(
            self.url,
            data=json.dumps(operation.payload, allow_nan=False).encode(),
            method="POST",
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Idempotency-Key": operation.op_id,
                **({"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}),
            },
        )
        answer = self._ask(request, deadline)
        self._check(answer)
        return Receipt()

    def _ask(self, request: urllib.request.Request, deadline: Deadline) -> _Answer:
        """Make the request on a thread, so that neither DNS nor a slow answer outlasts the deadline."""
        outcome: list[_Answer | BaseException] = []

        def exchange() -> None:
            try:
                outcome.append(self._exchange(request, deadline))
            except BaseException as failure:  # noqa: BLE001 - raised in the thread that waits
                outcome.append(failure)

        thread = threading.Thread(target=exchange, name="hokusai-event", daemon=True)
        try:
            thread.start()
        except RuntimeError as refusal:
            raise UnavailableError("The process ends; the event is kept.") from refusal
        thread.join(deadline.remaining())
        if not outcome:
            raise UnavailableError(f"{self.url} did not answer in time.", maybe_applied=True)
        found = outcome[0]
        if isinstance(found, BaseException):
            raise found
        return found

    def _exchange(self, request: urllib.request.Request, deadline: Deadline) -> _Answer:
        opener = urllib.request.build_opener(_AnswersAsTheyAre)
        timeout = max(0.01, deadline.at_most(self._timeout))
        try:
            with opener.open(request, timeout=timeout) as response:
                body = response.read(_MOST_ANSWER_BYTES)
                return _Answer(response.status, response.headers.get("Retry-After", ""), body)
        except (OSError, HTTPException, ValueError) as failure:
            cause = failure.reason if isinstance(failure, urllib.error.URLError) else failure
            raise UnavailableError(
                f"{self.url} gave no answer: {cause or type(failure).__name__}.",
                maybe_applied=not isinstance(cause, _NOT_SENT),
                fast=isinstance(cause, _NOT_SENT),
            ) from failure

    def _check(self, answer: _Answer) -> None:
        """Let a success pass, and raise the class of any other answer."""
        status, detail = answer.status, self._detail(answer.body)
        said = f"{self.url} answered {status}{f': {detail}' if detail else ''}."
        wait = _seconds(answer.retry_after)
        if 200 <= status < 300:  # noqa: PLR2004 - the class of success
            if answer.body.strip() and _json_of(answer.body) is None:
                raise UnavailableError(
                    f"{said[:-1]} with something else than JSON: it is not the endpoint.",
                    maybe_applied=True,
                )
            return
        if status == _UNAUTHORIZED:
            raise AuthenticationError(f"{said} Set HOKUSAI_API_KEY to a key that it accepts.")
        if status == _FORBIDDEN:
            raise PermissionDeniedError(
                f"{said} The key of HOKUSAI_API_KEY may not tell of models."
            )
        if status == _TOO_MANY:
            raise RateLimitedError(said, retry_after=wait)
        if status in _NOT_THE_ENDPOINT:
            raise UnavailableError(f"{said} Check HOKUSAI_EVENTS_ENDPOINT.", maybe_applied=False)
        if 400 <= status < 500 and status != _REQUEST_TIMEOUT:  # noqa: PLR2004 - the client's fault
            raise RejectedError(said)
        raise UnavailableError(said, maybe_applied=status >= 400, retry_after=wait)  # noqa: PLR2004

    def _detail(self, body: bytes) -> str:
        """Give what the endpoint says of an error, cut, and without the key if it echoes that."""
        found = _json_of(body)
        detail = found.get("detail") if isinstance(found, dict) else None
        if detail is None:
            return ""
        text = detail if isinstance(detail, str) else json.dumps(detail)
        if self._api_key:
            text = text.replace(self._api_key, "***")
        return " ".join(text.split())[:_MOST_DETAIL_CHARACTERS]


def _json_of(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _seconds(text: str) -> float | None:
    """Read ``Retry-After`` where it is a number of seconds; a date is left to the usual pauses."""
    with contextlib.suppress(ValueError):
        return max(0.0, float(int(text)))
    return None
