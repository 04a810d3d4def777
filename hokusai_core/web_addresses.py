"""Addresses of web services, checked where they are read: what no request could use is refused."""

import re
from urllib.parse import urlsplit

_AUTHORITY_END = re.compile(r"[/?#]")


def web_address(text: str) -> str:
    """Give the address of a service that paths are appended to, without what surrounds it.

    Args:
        text: The address; whitespace around it and slashes at its end are taken off.

    Raises:
        ValueError: No request can be sent to it. The text says why, and never what was given.
    """
    address = text.strip()
    if not address.lower().startswith(("http://", "https://")):
        raise ValueError("it is not an address that begins with http:// or https://")
    if not (address.isascii() and address.isprintable()) or " " in address:
        raise ValueError(
            "it holds a space, a control character or one outside of ASCII; write these in a path as "
            "%20, a host name as xn--..."
        )
    if not names_host(address) or not _is_name(urlsplit(address).hostname or ""):
        raise ValueError("it has no usable host or port; give it as https://host:port")
    if "?" in address or "#" in address:
        raise ValueError(
            "it holds a query or a fragment, which is not sent; give the key as HOKUSAI_API_KEY"
        )
    return address.rstrip("/")


def names_host(address: str) -> bool:
    """Say whether an ``http(s)`` address names a host without whitespace, and no impossible port."""
    authority = _AUTHORITY_END.split(address.partition("://")[2], maxsplit=1)[0]
    # Of the text as it is: urlsplit leaves tabs and line ends out.
    host_and_port = authority.rpartition("@")[2]
    if not host_and_port.isprintable() or " " in host_and_port:
        return False
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_name(host: str) -> bool:
    """Say whether each part of a host's name is one to 63 characters long."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
