"""Free ports on loopback."""

import socket


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
