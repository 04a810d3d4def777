"""A relay in front of a PostgreSQL server that can be frozen: connections stay, nothing passes."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import URL


class Relay:
    """Passes bytes between its port on the loopback and a server."""

    def __init__(self, target: URL) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._running = threading.Event()
        self._running.set()
        self._stopped = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> URL:
        """The server as it is reached through the relay."""
        host, port = self._listener.getsockname()
        return self._target.set(host=host, port=port, query={})

    def freeze(self) -> None:
        """Let nothing pass any more."""
        self._running.clear()

    def thaw(self) -> None:
        """Let everything pass again."""
        self._running.set()

    def stop(self) -> None:
        """Close everything."""
        self._stopped.set()
        self._running.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _connect(self) -> socket.socket:
        host = self._target.host or self._target.query.get("host")
        port = self._target.port or 5432
        if isinstance(host, str) and host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(Path(host) / f".s.PGSQL.{port}"))
            return server
        return socket.create_connection((str(host), port))

    def _run(self) -> None:
        while not self._stopped.is_set():
            for key, _ in self._selector.select(timeout=0.05):
                self._running.wait()
                if key.fileobj is self._listener:
                    client, _ = self._listener.accept()
                    server = self._connect()
                    self._selector.register(client, selectors.EVENT_READ, server)
                    self._selector.register(server, selectors.EVENT_READ, client)
                else:
                    self._pass(key.fileobj, key.data)  # type: ignore[arg-type]

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        if source.fileno() < 0:
            return
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            sink.sendall(data)
        if not data:
            for each in (source, sink):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(each)
                each.close()


@contextlib.contextmanager
def relay_to(target: URL) -> Iterator[Relay]:
    """Run a relay, and stop it in the end."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.stop()
