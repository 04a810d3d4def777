"""URIs as a person may see them: without credentials."""

import re
from urllib.parse import urlsplit, urlunsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_NAMES = frozenset({"databricks", "databricks-uc", "uc"})


def is_uri(text: str) -> bool:
    """Say whether a text can be a tracking URI: it has a scheme, or is one of MLflow's own names."""
    return _SCHEME.match(text) is not None or text in _NAMES


def without_credentials(uri: str) -> str:
    """Give a URI without user name, password, query and fragment, for messages and identities."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.rsplit("@", maxsplit=1)[-1]
    if not parts.netloc:
        return uri.partition("?")[0]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
