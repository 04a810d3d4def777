"""URIs as a person may see them: without credentials."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_USER_INFO = re.compile(r"(?<=://)[^/\s]*@")
_HIDDEN = "***"
_SHORTEST_SECRET = 4
"""Anything shorter is part of other words, too."""
_NAMES = frozenset({"databricks", "databricks-uc", "uc"})


def is_uri(text: str) -> bool:
    """Say whether a text can be a tracking URI: it has a scheme, or is one of MLflow's own names."""
    return _SCHEME.match(text) is not None or text in _NAMES


def without_credentials(uri: str) -> str:
    """Give a URI without user name, password, query and fragment, for messages and identities."""
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - raises where a password holds "/", "?" or "#" as it is
    except ValueError:
        return uri.rsplit("@", maxsplit=1)[-1]
    if not parts.netloc:
        bare = uri.partition("?")[0]
        # Without "//", what precedes "@" may be a name and a password all the same.
        return bare if parts.path.startswith("/") else bare.rpartition("@")[2]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def as_shown(text: str) -> str:
    """Give what a user wrote where no address belongs, in case it is one: to repeat it in an error."""
    _, mark, host = text.partition("?")[0].rpartition("@")
    return f"{_HIDDEN}{mark}{host}" if mark else host


def hide_credentials(text: str, secrets: Iterable[str] = ()) -> str:
    """Give a text that comes from elsewhere without credentials, to be shown to people.

    Args:
        text: What a server, a driver or a user wrote. User names and passwords of URLs in it are
            taken out.
        secrets: Texts to be taken out wherever they stand; those below four characters are not.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _HIDDEN)
    return _USER_INFO.sub(f"{_HIDDEN}@", text)
