"""The fault matrix as a table: each way to fail, and what is to come of it.

``write`` and ``read`` are the classes of the error that a caller gets; a write without one is kept in
the journal and returns. ``marked`` says whether the journal has to take it for possibly applied,
``arrives`` whether the server carries it out although no answer comes back.
"""

import json
from dataclasses import dataclass

from hokusai_core.errors import (
    AuthenticationError,
    BackendError,
    CredentialsRejectedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from tests.support.fault_proxy import Mode

HTML = b"<html><body>Please log in</body></html>"


@dataclass(frozen=True)
class Fault:
    """One way to fail.

    ``proven`` lets these credentials write successfully before. ``slow`` faults are those that only a
    budget ends. ``tls`` is a server whose certificate has expired.
    """

    name: str
    mode: Mode = "canned"
    answer: bytes = b""
    write: type[BackendError] | None = None
    read: type[BackendError] = UnavailableError
    marked: bool = False
    arrives: bool = False
    proven: bool = False
    slow: bool = False
    tls: bool = False


def answer(status: str, body: bytes, content_type: str, *headers: str) -> bytes:
    """Give an answer as it goes over the wire."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def page(status: str, *headers: str) -> bytes:
    """Give a proxy's answer."""
    return answer(status, HTML, "text/html", *headers)


def mlflows(status: str, code: str) -> bytes:
    """Give an error of MLflow's."""
    body = json.dumps({"error_code": code, "message": "why"}).encode()
    return answer(status, body, "application/json")


_DENIED = mlflows("403 Forbidden", "PERMISSION_DENIED")
_LOGIN = page("302 Found", "Location: http://127.0.0.1:1/login")
_LATER = page("503 Service Unavailable", "Retry-After: 600")

FAULTS = (
    # Connections.
    Fault("refused", "refuse"),
    Fault("reset before the request", "reset_before", marked=True),
    Fault("reset after the request", "reset_after", marked=True, arrives=True),
    Fault("closed after the request", "drop_answer", marked=True, arrives=True),
    Fault("truncated body", "cut_body", marked=True, arrives=True),
    Fault("black hole", "black_hole", marked=True, slow=True),
    Fault("answer held back", "hold_answer", marked=True, arrives=True, slow=True),
    Fault("slow drip", "drip", marked=True, arrives=True, slow=True),
    Fault(
        "headers without end", "canned", b"HTTP/1.1 200 OK\r\nX-A: b\r\n", marked=True, slow=True
    ),
    Fault("expired certificate", tls=True, write=AuthenticationError, read=AuthenticationError),
    # What a proxy answers.
    Fault("400 of a proxy", answer=page("400 Bad Request")),
    Fault(
        "401", answer=page("401 Unauthorized"), write=AuthenticationError, read=AuthenticationError
    ),
    Fault(
        "401 after a success",
        answer=page("401 Unauthorized"),
        read=CredentialsRejectedError,
        proven=True,
    ),
    Fault(
        "403", answer=page("403 Forbidden"), write=PermissionDeniedError, read=PermissionDeniedError
    ),
    Fault(
        "403 after a success",
        answer=page("403 Forbidden"),
        read=CredentialsRejectedError,
        proven=True,
    ),
    Fault("404 of a proxy", answer=page("404 Not Found")),
    Fault("408", answer=page("408 Request Timeout"), marked=True),
    Fault("409 of a proxy", answer=page("409 Conflict")),
    Fault("413", answer=page("413 Content Too Large")),
    Fault("429", answer=page("429 Too Many Requests"), read=RateLimitedError),
    Fault("500", answer=page("500 Internal Server Error"), marked=True),
    Fault("502", answer=page("502 Bad Gateway"), marked=True),
    Fault("503", answer=page("503 Service Unavailable"), marked=True),
    Fault("503 with Retry-After", answer=_LATER, marked=True),
    Fault("504", answer=page("504 Gateway Timeout"), marked=True),
    Fault("200 with HTML", answer=page("200 OK"), marked=True),
    Fault("invalid JSON", answer=answer("200 OK", b'{"run": ', "application/json"), marked=True),
    Fault("redirect to a login page", answer=_LOGIN),
    # What MLflow answers.
    Fault(
        "400 INVALID_PARAMETER_VALUE",
        answer=mlflows("400 Bad Request", "INVALID_PARAMETER_VALUE"),
        write=RejectedError,
        read=RejectedError,
    ),
    Fault("400 BAD_REQUEST", answer=mlflows("400 Bad Request", "BAD_REQUEST"), marked=True),
    Fault(
        "403 PERMISSION_DENIED",
        answer=_DENIED,
        write=PermissionDeniedError,
        read=PermissionDeniedError,
    ),
    Fault(
        "403 PERMISSION_DENIED after a success",
        answer=_DENIED,
        read=CredentialsRejectedError,
        proven=True,
    ),
    Fault(
        "404 RESOURCE_DOES_NOT_EXIST",
        answer=mlflows("404 Not Found", "RESOURCE_DOES_NOT_EXIST"),
        write=NotFoundError,
        read=NotFoundError,
    ),
    Fault(
        "409 RESOURCE_CONFLICT", answer=mlflows("409 Conflict", "RESOURCE_CONFLICT"), marked=True
    ),
    Fault("500 INTERNAL_ERROR", answer=mlflows("500 Internal", "INTERNAL_ERROR"), marked=True),
)

ALREADY_SO = {
    ("404 RESOURCE_DOES_NOT_EXIST", "delete_model_version"),
    ("404 RESOURCE_DOES_NOT_EXIST", "delete_alias"),
}
"""Refusals that say that a deletion is done already."""
