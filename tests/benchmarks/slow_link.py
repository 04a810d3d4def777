"""A link that hands a server's answers on with a delay, in a process of its own."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.when_idle import when_idle

SLOW_SECONDS = 0.2


@contextmanager
def slow_link(port: int) -> Iterator[str]:
    """Start a link to a server on this machine; gives the address for clients."""
    command = when_idle([sys.executable, "-m", __name__, str(port)])
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
        text=True,
    ) as link:
        try:
            assert link.stdout is not None
            yield f"http://127.0.0.1:{int(link.stdout.readline())}"
        finally:
            link.kill()


def _relay(source: socket.socket, target: socket.socket, delay: float) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            time.sleep(delay)
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, port: int) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", port))
        for ends in ((client, server, 0.0), (server, client, SLOW_SECONDS)):
            threading.Thread(target=_relay, args=ends, daemon=True).start()


def main() -> None:
    """Serve the port that is the argument, and print one's own, until the standard input ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = listener, int(sys.argv[1])
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
