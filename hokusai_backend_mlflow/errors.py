"""Answers, broken connections and MLflow's error codes, turned into the core's errors.

Decided by status, error code and exception class; message texts are shown, never searched.
"""

import email.utils
import json
import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hokusai_core.addresses import hide_credentials
from hokusai_core.errors import (
    AlreadyExistsError,
    AuthenticationError,
    BackendError,
    CredentialsRejectedError,
    NotFoundError,
    PermanentError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)

FAST_SECONDS = 0.5
"""A failure within this time leaves room for another attempt."""

PERMANENT_CODES: dict[str, type[PermanentError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "RESOURCE_ALREADY_EXISTS": AlreadyExistsError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "INVALID_PARAMETER_VALUE": RejectedError,
    "MALFORMED_REQUEST": RejectedError,
    "RESOURCE_LIMIT_EXCEEDED": RejectedError,
    "FEATURE_DISABLED": RejectedError,
}
"""MLflow's codes that say for certain that nothing was done, and that a repeat is refused too."""

_OK, _UNAUTHORIZED, _FORBIDDEN, _TOO_MANY_REQUESTS, _SERVER_ERROR = 200, 401, 403, 429, 500
_REQUEST_TIMEOUT = 408
_NOT_PERFORMED = range(300, 500)
_PERMISSION_DENIED = "PERMISSION_DENIED"
_MESSAGE_CHARACTERS = 500
_LONGEST_WAIT = 3600.0
"""Seconds of ``Retry-After`` that are believed: nobody waits a day for a page's mistake."""
_ABOUT_THE_REQUEST = frozenset({400, 411, 413, 414, 415, 431})
"""Statuses with which a proxy refuses one request (too large, above all), and perhaps no other."""
_UNTRUSTED = (
    "the server's certificate is not trusted. Set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of the "
    "authority that signed it."
)
_CERTIFICATE_TROUBLE: dict[int | None, str] = {
    9: "the server's certificate is not valid yet. Check this machine's clock.",
    10: "the server's certificate has expired. Renew it on the server; check this machine's clock.",
    62: "the server's certificate is for another host name. Set MLFLOW_TRACKING_URI to that name.",
    64: "the server's certificate is for another address. Set MLFLOW_TRACKING_URI to its name.",
}
"""OpenSSL's verification codes (``X509_V_ERR_*`` in ``x509_vfy.h``) that another setting mends."""
_CREDENTIAL_HELP = (
    "Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "HOKUSAI_API_KEY."
)


def from_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    what: str,
    *,
    proven: bool,
    fast: bool,
    secrets: Collection[str] = (),
) -> BackendError:
    """Give the error that an answer means which is not a success of MLflow's.

    Args:
        status: The HTTP status; 200 for an answer that MLflow would not give.
        headers: The answer's headers.
        body: The answer's body.
        what: What was asked, for the message.
        proven: Whether these credentials have had a successful write here.
        fast: Whether the answer came at once.
        secrets: What the request was sent with, to be taken out of the server's text.

    """
    wait = retry_after(headers)
    code, message = _mlflow_error(body, secrets) if status != _OK else ("", "")
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        this_only = code == _PERMISSION_DENIED
        return _credentials_refused(status, what, proven=proven, fast=fast, this_only=this_only)
    if status == _TOO_MANY_REQUESTS:
        return RateLimitedError(
            f"{what}: the server asks to come back later (HTTP 429).", retry_after=wait, fast=fast
        )
    if code and status < _SERVER_ERROR and (known := PERMANENT_CODES.get(code)):
        return known(f"{what}: {code}: {message}")
    if code or status >= _SERVER_ERROR or status == _REQUEST_TIMEOUT:
        shown = f"{code}: {message}" if code else "no answer of MLflow's"
        return UnavailableError(
            f"{what}: HTTP {status}, {_sentence(shown)}",
            maybe_applied=True,
            retry_after=wait,
            fast=fast,
        )
    kind = headers.get("Content-Type", "no content type")
    return UnavailableError(
        f"{what}: HTTP {status} ({kind}, {len(body)} bytes) is not an answer of MLflow's. Is there "
        "a proxy or another service at this address?",
        maybe_applied=status not in _NOT_PERFORMED,
        about_this=status in _ABOUT_THE_REQUEST,
        retry_after=wait,
        fast=fast,
    )


def from_failure(
    cause: BaseException, what: str, *, sent: bool, proven: bool, seconds: float
) -> BackendError:
    """Give the error that a request without a complete answer means.

    Args:
        cause: What the HTTP library raised.
        what: What was asked, for the message.
        sent: Whether any byte of the request was sent.
        proven: Whether these credentials have had a successful write here.
        seconds: How long it took.

    """
    chain = tuple(_causes(cause))
    fast = seconds < FAST_SECONDS
    untrusted = next(
        (link for link in chain if isinstance(link, ssl.SSLCertVerificationError)), None
    )
    if untrusted is not None and not sent:
        code = getattr(untrusted, "verify_code", None)  # missing where Python itself refuses
        message = f"{what}: {_CERTIFICATE_TROUBLE.get(code, _UNTRUSTED)}"
        return (
            CredentialsRejectedError(message, fast=fast) if proven else AuthenticationError(message)
        )
    waited = f" after {seconds:.1f} s" if not fast else ""
    when = "the request may have arrived" if sent else "nothing was sent"
    return UnavailableError(
        f"{what}: no answer{waited}, {when} ({_described(chain)}).",
        maybe_applied=sent,
        fast=fast,
    )


def from_mlflow(cause: Exception, what: str, *, ambiguous: bool) -> BackendError:
    """Give the error that an exception of MLflow's own store or artifact repository means.

    Args:
        cause: An ``MlflowException``, or what its drivers raise.
        what: What was being done, for the message.
        ambiguous: Whether an error that is not a refusal may come after the effect.

    """
    code = getattr(cause, "error_code", "")
    known = PERMANENT_CODES.get(code) if isinstance(code, str) else None
    shown = _shortened(hide_credentials(str(cause))) if known else f"{code or type(cause).__name__}"
    if known:
        return known(f"{what}: {code}: {shown}")
    if isinstance(cause, ImportError):
        shown = f"the package {cause.name!r} is missing or does not fit. Install it"
    return UnavailableError(f"{what} failed: {shown}.", maybe_applied=ambiguous)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``, in seconds or as a date, at most an hour; None where it makes no sense."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdecimal():
        return min(float(value), _LONGEST_WAIT)
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(0.0, seconds), _LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return None


def _credentials_refused(
    status: int, what: str, *, proven: bool, fast: bool, this_only: bool
) -> BackendError:
    if proven:
        return CredentialsRejectedError(
            f"{what}: HTTP {status}, although these credentials worked before. Renew them if they "
            f"have expired. {_CREDENTIAL_HELP}",
            this_only=this_only,
            fast=fast,
        )
    if status == _UNAUTHORIZED:
        return AuthenticationError(
            f"{what}: the server does not accept the credentials, or wants some (HTTP 401). "
            f"{_CREDENTIAL_HELP}"
        )
    return PermissionDeniedError(
        f"{what}: the credentials are not allowed to do this (HTTP 403). Ask for the permission, "
        f"or use others. {_CREDENTIAL_HELP}",
        this_only=this_only,
    )


def _mlflow_error(body: bytes, secrets: Collection[str]) -> tuple[str, str]:
    """Give the error code and message of an MLflow error; ("", "") where it is none."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict) or not isinstance(answer.get("error_code"), str):
        return "", ""
    # Before it is cut: half a secret would not be found any more.
    message = hide_credentials(str(answer.get("message", "")), secrets)
    return answer["error_code"], _shortened(message)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _shortened(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]}..."


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to its first cause, through what urllib3 keeps in attributes, too."""
    link: BaseException | None = failure
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        inner = getattr(link, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((item for item in link.args if isinstance(item, BaseException)), None)
        link = inner or link.__cause__ or link.__context__


def _described(chain: tuple[BaseException, ...]) -> str:
    """Name the first cause without its text, which may hold an address with credentials."""
    system = next((link for link in chain if isinstance(link, OSError) and link.strerror), None)
    if system is not None and not isinstance(system.strerror, bytes):
        return f"{type(system).__name__}: {system.strerror}"
    return type(chain[-1]).__name__
