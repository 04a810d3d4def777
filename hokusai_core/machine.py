"""This machine's identity, which belongs to every address that means another place elsewhere."""

import hashlib
import ipaddress
import socket
from pathlib import Path

_MACHINE_ID_FILE = Path("/etc/machine-id")


def machine_id() -> str:
    """Give 12 hexadecimal digits that stand for this machine, the same in every process.

    They come from ``/etc/machine-id`` (systemd's ``machine-id(5)``), or from the host's name where
    there is none.
    """
    try:
        identity = _MACHINE_ID_FILE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        identity = ""
    identity = identity or socket.gethostname()
    return hashlib.sha256(f"hokusai {identity}".encode()).hexdigest()[:12]


def is_local(host: str) -> bool:
    """Say whether a host means another machine on each machine: loopback, or a Unix socket."""
    if not host or host.startswith("/") or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
