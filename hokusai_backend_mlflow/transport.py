"""Sends requests to one MLflow server: own session, bounded time, no retries, no redirects."""

import configparser
import json
import os
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import mlflow  # noqa: F401 - before its modules (see mlflow_entities)
import requests
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from mlflow.exceptions import MlflowException
from mlflow.tracking.request_auth.registry import fetch_auth
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import MlflowHostCreds
from requests.auth import AuthBase, HTTPBasicAuth

from hokusai_backend_mlflow import credentials
from hokusai_backend_mlflow.destination import without_credentials
from hokusai_backend_mlflow.errors import FAST_SECONDS, from_answer, from_failure
from hokusai_backend_mlflow.request_headers import RequestHeaders, unsendable_header
from hokusai_backend_mlflow.sent_secrets import secrets_of, without_secrets
from hokusai_backend_mlflow.watched_sockets import Watch, WatchedAdapter, watching
from hokusai_core.addresses import hide_credentials
from hokusai_core.clock import Deadline
from hokusai_core.errors import BackendError, ConfigurationError, HokusaiError, UnavailableError

try:
    from mlflow.utils.workspace_context import get_request_workspace
    from mlflow.utils.workspace_utils import WORKSPACE_HEADER_NAME
except ImportError:  # MLflow before workspaces
    WORKSPACE_HEADER_NAME = ""

    def get_request_workspace() -> str | None:
        """There are no workspaces in this release of MLflow."""
        return None


_OK = 200
_SERVER_INFO = "/api/3.0/mlflow/server-info"

_NOT_BUILT = (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeEncodeError)
"""What is raised where a request cannot be built: a setting is wrong, and no server is away."""

_KEPT_CONNECTIONS = 64
"""Idle connections that are kept: as many as threads may log at once without opening new ones."""


class BearerAuth(AuthBase):
    """Sends a token; as an explicit authentication it comes before ``.netrc``."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Transport:
    """The way to one server. Safe to use from several threads, and after a fork.

    Args:
        uri: The server's address.
        api_key: Bearer token of this object, "" for MLflow's own credentials (environment, file).
        connect_timeout: Longest wait for a connection, in seconds.
        request_timeout: Longest time of one request, in seconds.

    """

    def __init__(
        self, uri: str, api_key: str, connect_timeout: float, request_timeout: float
    ) -> None:
        self.uri = uri
        self.shown_uri = without_credentials(uri)
        self.request_timeout = request_timeout
        self._connect_timeout = connect_timeout
        self._api_key = api_key
        # Reentrant: a signal handler may log in the middle of a call.
        self._lock = threading.RLock()
        self._session: requests.Session | None = None
        self._session_process = 0
        self._proven: MlflowHostCreds | None = None
        self._workspaces_checked = False
        self._request_headers = RequestHeaders()

    def host_creds(self) -> MlflowHostCreds:
        """Give address and credentials as they are now (tokens are renewed in the environment).

        Raises:
            UnavailableError: MLflow's file of credentials cannot be read, as while it is written.
            ConfigurationError: Variables of MLflow's are wrong, or contradict each other; or what they
                hold cannot be sent.

        """
        try:
            creds = get_default_host_creds(self.uri)
        except (OSError, UnicodeError, configparser.Error) as cause:
            raise UnavailableError(
                f"The credentials for {self.shown_uri} cannot be read from ~/.mlflow/credentials "
                f"({type(cause).__name__}), so nothing was sent. Mend the file, or set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD and remove it.",
                fast=True,
            ) from None  # its text may quote a line of the file
        except (MlflowException, ValueError) as cause:
            raise ConfigurationError(
                f"MLflow's variables for {self.shown_uri} cannot be used: "
                f"{hide_credentials(str(cause)).rstrip('.')}."
            ) from cause
        if self._api_key:
            creds.host = without_credentials(self.uri)
            creds.username = creds.password = creds.auth = None
            creds.aws_sigv4 = False
            creds.token = credentials.fit_token(self._api_key, credentials.KEY)
        elif not (creds.aws_sigv4 or creds.auth or urlsplit(creds.host).username):
            creds.username, creds.password, creds.token = credentials.fit(
                creds.username, creds.password, creds.token
            )
        return creds

    def call(
        self,
        endpoint: str,
        method: str,
        json_body: str | bytes | None,
        response: Any,
        deadline: Deadline,
        *,
        writes: bool,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Call an endpoint of MLflow's API and read its answer into ``response``.

        The body is a JSON object: a text, or bytes that are sent as they are.

        Raises:
            TransientError: No usable answer.
            PermanentError: MLflow refuses.

        """
        self._check_workspaces(deadline)
        limit = Deadline(deadline.at_most(self.request_timeout))
        content: dict[str, Any]
        if isinstance(json_body, bytes):
            content = {"data": json_body}
            extra_headers = {**(extra_headers or {}), "Content-Type": "application/json"}
        else:
            body = None if json_body is None else json.loads(json_body)
            content = {"params": body} if method == "GET" else {"json": body}
        answer = self.send(
            method,
            endpoint,
            Watch(limit.remaining),
            headers=extra_headers,
            writes=writes,
            **content,
        )
        what = f"{method} {self.shown_uri}{endpoint}"
        try:
            values = answer.json()
            if not _answers(values, response):
                raise ValueError("another service's answer")
            parse_dict(js_dict=values, message=response)
        except (ValueError, ParseError, TypeError, AttributeError, RecursionError) as cause:
            raise not_mlflows(answer, what) from cause
        return response

    def send(
        self,
        method: str,
        endpoint: str,
        watch: Watch,
        *,
        headers: Mapping[str, str] | None = None,
        writes: bool = False,
        base: str = "",
        **content: Any,
    ) -> requests.Response:
        """Send one request and give its answer, whose status is 200.

        Args:
            method: HTTP method.
            endpoint: Path below the server's address.
            watch: Bounds the time.
            headers: More headers.
            writes: Whether a success proves the credentials.
            base: Another server's address, "" for this one.
            content: ``params``, ``json``, ``data`` and ``stream``, as ``requests`` takes them.

        """
        creds = self.host_creds()
        host = (base or creds.host).rstrip("/")
        what = f"{method} {without_credentials(host)}{endpoint}"
        proven = creds == self._proven
        began = time.monotonic()
        try:
            with watching(watch):
                answer = self._request(method, f"{host}{endpoint}", creds, watch, headers, content)
        except HokusaiError:
            raise
        except Exception as cause:
            if isinstance(cause, _NOT_BUILT) and not watch.sent and not base:
                raise _not_built(what, type(cause).__name__) from None  # its text may hold a secret
            seconds = time.monotonic() - began
            raise from_failure(
                cause, what, sent=watch.sent, proven=proven, seconds=seconds
            ) from cause
        if answer.status_code != _OK:
            fast = time.monotonic() - began < FAST_SECONDS
            body = b"" if answer.is_redirect else _content(answer)
            secrets = secrets_of(answer.request)
            failure = from_answer(
                answer.status_code,
                answer.headers,
                body,
                what,
                proven=proven,
                fast=fast,
                secrets=secrets,
            )
            raise without_secrets(failure, secrets)
        if writes:
            self._proven = creds
        return answer

    def _request(
        self,
        method: str,
        url: str,
        creds: MlflowHostCreds,
        watch: Watch,
        headers: Mapping[str, str] | None,
        content: dict[str, Any],
    ) -> requests.Response:
        seconds = watch.remaining()
        if seconds <= 0:
            raise UnavailableError(f"No time was left to ask {without_credentials(url)}.")
        sent_headers = {**self._request_headers.current(), **(headers or {})}
        if workspace := get_request_workspace():
            sent_headers.setdefault(WORKSPACE_HEADER_NAME, workspace)
        session = self._own_session()
        stream = bool(content.pop("stream", False))
        request = session.prepare_request(
            requests.Request(method, url, headers=sent_headers, auth=self._auth(creds), **content)
        )
        if name := unsendable_header(request):
            raise _not_built(f"{method} {without_credentials(url)}", f"its header {name}")
        options = session.merge_environment_settings(
            request.url, {}, stream, creds.verify, creds.client_cert_path
        )
        return session.send(
            request,
            timeout=(min(self._connect_timeout, seconds), seconds),
            allow_redirects=False,
            **options,
        )

    def _auth(self, creds: MlflowHostCreds) -> Any:
        """Give the authentication in MLflow's own order of precedence."""
        if creds.aws_sigv4:
            from requests_auth_aws_sigv4 import AWSSigV4  # type: ignore[import-not-found]

            return AWSSigV4("execute-api")
        if creds.auth:
            return fetch_auth(creds.auth)
        if urlsplit(creds.host).username:
            return None  # requests takes them from the address, as it does for MLflow
        if creds.username and creds.password:
            return HTTPBasicAuth(creds.username.encode(), creds.password.encode())
        return BearerAuth(creds.token) if creds.token else None

    def _own_session(self) -> requests.Session:
        with self._lock:
            if self._session is None or self._session_process != os.getpid():
                session = requests.Session()
                for prefix in ("http://", "https://"):
                    session.mount(
                        prefix, WatchedAdapter(max_retries=0, pool_maxsize=_KEPT_CONNECTIONS)
                    )
                self._session, self._session_process = session, os.getpid()
            return self._session

    def _check_workspaces(self, deadline: Deadline) -> None:
        """Make sure, once, that a server asked for a workspace knows what that is."""
        workspace = get_request_workspace()
        if not workspace or self._workspaces_checked:
            return
        limit = Deadline(deadline.at_most(self.request_timeout))
        answer = self.send("GET", _SERVER_INFO, Watch(limit.remaining))
        try:
            enabled = bool(answer.json().get("workspaces_enabled"))
        except (ValueError, AttributeError, RecursionError):
            enabled = False
        if not enabled:
            raise UnavailableError(
                f"The server {self.shown_uri} has no workspaces, and {workspace!r} is asked for. "
                "Unset MLFLOW_WORKSPACE, or start the server with --enable-workspaces."
            )
        self._workspaces_checked = True


def _not_built(what: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what}: the request cannot be sent as it is set up ({why}): there is a line end in it, or "
        "another character that has no place there. Check the address, credentials, proxies, "
        "MLFLOW_WORKSPACE, and plugins for headers and authentication."
    )


def _answers(values: Any, response: Any) -> bool:
    """Say whether a JSON body can be the answer: an object, empty or with a field that is known."""
    if not isinstance(values, dict):
        return False
    known = {field.name for field in response.DESCRIPTOR.fields}
    return not values or not known.isdisjoint(values)


def _content(answer: requests.Response) -> bytes:
    """Read an error's body; where it breaks off, the status alone decides."""
    try:
        return answer.content
    except requests.RequestException:
        return b""
    finally:
        answer.close()


def not_mlflows(answer: requests.Response, what: str) -> BackendError:
    """Give the error for an answer with status 200 that MLflow would not give."""
    fast = answer.elapsed.total_seconds() < FAST_SECONDS
    failure = from_answer(_OK, answer.headers, answer.content, what, proven=True, fast=fast)
    return without_secrets(failure, secrets_of(answer.request))


def joined(uri: str, netloc: str) -> str:
    """Give the address with another host and port, "" for its own."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, netloc or parts.netloc, parts.path.rstrip("/"), "", ""))
