"""MLflow's variables for credentials: their names, and whether what they hold can be sent.

Imports neither MLflow nor an HTTP library, so that wrong ones are told before anything is written.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hokusai_backend_mlflow.destination import Addresses, is_http
from hokusai_core.errors import ConfigurationError
from hokusai_core.header_values import header_value
from hokusai_core.plugins import BackendConfig

KEY = "HOKUSAI_API_KEY"
TOKEN = "MLFLOW_TRACKING_TOKEN"
USER = "MLFLOW_TRACKING_USERNAME"
PASSWORD = "MLFLOW_TRACKING_PASSWORD"
PLUGINS = ("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_AUTH")
FILE = "~/.mlflow/credentials"
"""MLflow's file of a user name and a password."""


def check(config: BackendConfig, addresses: Addresses) -> None:
    """Refuse credentials that no request can carry, if they are what a server would be sent.

    Raises:
        ConfigurationError: Names the variable, and never shows the value.
    """
    uris = {
        "MLFLOW_TRACKING_URI": addresses.tracking_uri,
        "MLFLOW_REGISTRY_URI": addresses.registry_uri,
    }
    servers = {variable: uri for variable, uri in uris.items() if is_http(uri)}
    if not servers:
        return
    if config.api_key:
        fit_token(config.api_key, KEY)
        return
    if any(asks_plugin(variable) for variable in PLUGINS):
        return
    for variable, uri in servers.items():
        _check_user_info(uri, variable)
    if all(urlsplit(uri).username for uri in servers.values()):
        return
    user, password, token = (os.environ.get(variable, "") for variable in (USER, PASSWORD, TOKEN))
    # What the file adds comes before a token.
    fit(user, password, "" if token and has_file() else token)


def fit(user: str | None, password: str | None, token: str | None) -> tuple[str, str, str]:
    """Give user name, password and token as they are sent: a token only where the others are not both.

    A user name loses the whitespace around it, a password the line ends after it: it may end with a
    space.

    Raises:
        ConfigurationError: They cannot be sent; names the variable, and never shows the value.
    """
    user, password = (user or "").strip(), (password or "").rstrip("\r\n")
    if not (user and password):
        return "", "", fit_token(token or "", TOKEN)
    for value, variable in ((user, USER), (password, PASSWORD)):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"{variable} cannot be used: it holds bytes that are not UTF-8. Set it again."
            ) from None
    return user, password, ""


def fit_token(token: str, variable: str) -> str:
    """Give a token without the whitespace around it.

    Raises:
        ConfigurationError: It cannot be sent; names the variable, and never shows the value.
    """
    try:
        return header_value(token)
    except ValueError as reason:
        raise ConfigurationError(f"{variable} cannot be used: {reason}.") from None


def has_file() -> bool:
    """Say whether MLflow's file of credentials is there."""
    # Path.expanduser raises where a container's user has no home.
    return Path(os.path.expanduser(FILE)).exists()  # noqa: PTH111


def asks_plugin(variable: str) -> bool:
    """Say whether a variable hands authentication over to a plugin."""
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false")


def _check_user_info(uri: str, variable: str) -> None:
    parts = urlsplit(uri)
    try:
        unquote(f"{parts.username or ''}{parts.password or ''}").encode("latin-1")
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{variable} cannot be used: its user name or password holds a character outside of "
            f"Latin-1, which cannot be sent. Set {USER} and {PASSWORD} instead."
        ) from None
