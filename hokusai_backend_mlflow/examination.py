"""Examines address, credentials and TLS options of the MLflow backend, without importing MLflow."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from hokusai_backend_mlflow import credentials
from hokusai_backend_mlflow.credentials import FILE, KEY, PASSWORD, PLUGINS, TOKEN, USER
from hokusai_backend_mlflow.destination import NO_SERVER, is_http, resolve, without_credentials
from hokusai_core.errors import ConfigurationError
from hokusai_core.findings import Finding
from hokusai_core.machine import is_local
from hokusai_core.plugins import BackendConfig

_INSECURE = "MLFLOW_TRACKING_INSECURE_TLS"
_FILES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH")


def examine(config: BackendConfig) -> tuple[Finding, ...]:
    """Look at what the environment says about a server. Asks nobody, and shows no secret.

    Raises:
        ConfigurationError: The address is none of a server or a database.
    """
    return tuple(_findings(config))


def _findings(config: BackendConfig) -> Iterator[Finding]:
    addresses = resolve(config)
    uri = addresses.tracking_uri
    if not is_http(uri):
        given = bool(config.tracking_uri.strip())
        yield Finding(
            name="address",
            state="ok" if given else "warning",
            text=f"records go to the database {without_credentials(uri)}"
            + ("" if given else f". {NO_SERVER}"),
            advice="" if given else "Set MLFLOW_TRACKING_URI if you have a server.",
        )
        return
    parts = urlsplit(uri)
    yield Finding(name="address", state="ok", text=without_credentials(uri))
    sources = list(_sources(config, with_userinfo="@" in parts.netloc))
    try:
        credentials.check(config, addresses)
    except ConfigurationError as failure:
        yield Finding(name="credentials", state="failed", text=str(failure))
    else:
        yield from _credentials(sources)
    if sources and parts.scheme == "http" and not is_local(parts.hostname or ""):
        yield Finding(
            name="credentials",
            state="warning",
            text="they go over the network unencrypted (http).",
            advice="Use https.",
        )
    if parts.scheme == "https":
        yield from _tls()


def _sources(config: BackendConfig, *, with_userinfo: bool) -> Iterator[str]:
    """Name where credentials come from, that which is used first."""
    if config.api_key:
        yield KEY
    yield from (variable for variable in PLUGINS if credentials.asks_plugin(variable))
    if with_userinfo:
        yield "the address"
    if os.environ.get(USER) and os.environ.get(PASSWORD):
        yield f"{USER} and {PASSWORD}"
    if os.environ.get(TOKEN, "").strip():
        yield TOKEN
    if credentials.has_file():
        yield FILE


def _credentials(sources: list[str]) -> Iterator[Finding]:
    if bool(os.environ.get(USER)) != bool(os.environ.get(PASSWORD)):
        there, missing = (USER, PASSWORD) if os.environ.get(USER) else (PASSWORD, USER)
        yield Finding(
            name="credentials",
            state="warning",
            text=f"{there} is set, and {missing} is not.",
            advice=f"Set {missing}.",
        )
    if "the address" in sources:
        yield Finding(
            name="credentials",
            state="warning",
            text="the address holds credentials, which process listings and shells show.",
            advice=f"Set {USER} and {PASSWORD} instead.",
        )
    if len(sources) > 1:
        yield Finding(
            name="credentials",
            state="warning",
            text=f"there are several: {', '.join(sources)}.",
            advice="Keep one, so that it is clear which counts.",
        )
    if sources:
        yield Finding(name="credentials", state="ok", text=f"from {sources[0]}")
    else:
        yield Finding(
            name="credentials",
            state="ok",
            text="none are set; a server without authentication needs none",
        )


def _tls() -> Iterator[Finding]:
    if os.environ.get(_INSECURE, "").strip().lower() in ("1", "true"):
        yield Finding(
            name="tls",
            state="warning",
            text=f"the server's certificate is not checked ({_INSECURE}).",
            advice=f"Set {_FILES[0]} to the file of its authority instead.",
        )
    for variable in _FILES:
        path = os.environ.get(variable, "")
        if path and not Path(path).is_file():
            yield Finding(
                name="tls",
                state="failed",
                text=f"{variable} names a file that is not there: {path}",
                advice="Correct the path.",
            )
