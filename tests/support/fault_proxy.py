"""A TCP proxy that fails in chosen ways, for tests of what clients do with broken networks.

::

    with FaultProxy(upstream_port=server.port) as proxy:
        client = Client(proxy.url)
        proxy.mode = "drop_answer"       # the server carries it out, the client never hears
        ...
        proxy.mode = "pass"

A mode takes effect for each request that begins after it is set (``refuse`` and ``black_hole`` for
each connection). Modes:

* ``pass``: hand through both ways.
* ``refuse``: the port is closed, connections are refused.
* ``black_hole``: accept, read, and never answer; the server sees nothing.
* ``reset_before``: reset the connection when the request has come; the server sees nothing.
* ``drop_answer``: the server gets the request and answers; the client gets a closed connection.
* ``reset_after``: the same, with a reset.
* ``hold_answer``: the same, and the connection stays open without a byte.
* ``drip``: the server's answer comes one byte a second.
* ``cut_body``: the answer breaks off in the middle of its body.
* ``canned``: the client gets the bytes ``proxy.canned``; the server sees nothing.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Literal, Self, get_args

Mode = Literal[
    "pass",
    "refuse",
    "black_hole",
    "reset_before",
    "drop_answer",
    "reset_after",
    "hold_answer",
    "drip",
    "cut_body",
    "canned",
]
_AWAY: tuple[Mode, ...] = ("black_hole", "reset_before", "canned")
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 30.0
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class FaultProxy:
    """Listens on a port of 127.0.0.1 and hands requests to another, as its mode says.

    Args:
        upstream_port: Port of the server on 127.0.0.1; None for modes that need none.
        mode: The first mode.

    Attributes:
        canned: What the mode ``canned`` answers, as it goes over the wire.
        requests: The request lines and headers that came, in order, as text.
        connections: How many connections were accepted.
        url: Address for the client.

    """

    def __init__(self, upstream_port: int | None = None, mode: Mode = "pass") -> None:
        self.canned = _NOT_FOUND
        self.requests: list[str] = []
        self.connections = 0
        self._upstream_port = upstream_port
        self._mode: Mode = mode
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self.port = self._listen(0)
        self.url = f"http://127.0.0.1:{self.port}"
        if mode == "refuse":
            self._stop_listening()

    @property
    def mode(self) -> Mode:
        """What happens to requests."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"no mode {mode!r}")
        before, self._mode = self._mode, mode
        if mode == "refuse" and before != "refuse":
            self._stop_listening()
            self.drop_connections()
        elif before == "refuse" and mode != "refuse":
            self._listen(self.port)

    def drop_connections(self) -> None:
        """Close every connection that is open."""
        with self._lock:
            connections, self._open = list(self._open), set()
        for connection in connections:
            _close(connection)

    def close(self) -> None:
        """Stop listening, close every connection, and wait for the threads."""
        self._closing.set()
        self._stop_listening()
        self.drop_connections()
        for thread in self._threads:
            thread.join(timeout=10)

    def __enter__(self) -> Self:
        """Listen already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _listen(self, port: int) -> int:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        listener.settimeout(_POLL_SECONDS)
        self._listener = listener
        self._acceptor = self._run(self._accept, listener)
        return int(listener.getsockname()[1])

    def _stop_listening(self) -> None:
        """Close the port; when this returns, connections are refused."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        if self._acceptor is not None:
            self._acceptor.join(timeout=10)
        listener.close()

    def _run(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(client)
            self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        upstream: socket.socket | None = None
        try:
            client.settimeout(_ANSWER_SECONDS)
            client_file = client.makefile("rb")
            while not self._closing.is_set():
                request = read_message(client_file, answer=False)
                if request is None:
                    return
                self.requests.append(request.partition(b"\r\n\r\n")[0].decode("latin-1"))
                mode = self._mode_for(request)
                if mode in _AWAY:
                    if not self._answer_alone(client, mode):
                        return
                    continue
                if upstream is None:
                    upstream = self._connect()
                upstream.sendall(request)
                head_only = request.startswith(b"HEAD ")
                answer = read_message(upstream.makefile("rb"), answer=True, head_only=head_only)
                if answer is None or not self._pass_on(client, answer, mode):
                    return
                if b"connection: close" in answer.partition(b"\r\n\r\n")[0].lower():
                    return
        except (OSError, ValueError):
            return
        finally:
            for connection in (client, upstream):
                if connection is not None:
                    with self._lock:
                        self._open.discard(connection)
                    _close(connection)

    def _mode_for(self, request: bytes) -> Mode:
        """Choose what happens to one request."""
        del request
        return self._mode

    def _connect(self) -> socket.socket:
        assert self._upstream_port is not None
        upstream = socket.create_connection(("127.0.0.1", self._upstream_port), timeout=5)
        upstream.settimeout(_ANSWER_SECONDS)
        with self._lock:
            # A server that was sent half a request would be waited for.
            self._open.add(upstream)
        return upstream

    def _answer_alone(self, client: socket.socket, mode: Mode) -> bool:
        """Answer without the server; returns whether the connection stays."""
        if mode == "canned":
            client.sendall(self.canned)
            return b"connection: close" not in self.canned.lower()
        if mode == "black_hole":
            self._hold(client)
        else:
            _reset(client)
        return False

    def _pass_on(self, client: socket.socket, answer: bytes, mode: Mode) -> bool:
        """Give the server's answer to the client, or not; returns whether the connection stays."""
        if mode == "pass":
            client.sendall(answer)
            return True
        if mode == "drip":
            for position in range(len(answer)):
                client.sendall(answer[position : position + 1])
                if self._closing.wait(1.0):
                    return False
        elif mode == "cut_body":
            head, mark, body = answer.partition(b"\r\n\r\n")
            client.sendall(head + mark + body[: len(body) // 2])
        elif mode == "hold_answer":
            self._hold(client)
        elif mode == "reset_after":
            _reset(client)
        return False

    def _hold(self, client: socket.socket) -> None:
        """Keep the connection open until the client goes away."""
        client.settimeout(_POLL_SECONDS)
        while not self._closing.is_set():
            try:
                if not client.recv(65536):
                    return
            except TimeoutError:
                continue


def read_message(reader: BinaryIO, *, answer: bool, head_only: bool = False) -> bytes | None:
    """Read one HTTP message with its body; None where the other side is gone."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline()
        if not line:
            return None
        head += line
    headers = head.lower()
    if head_only or (answer and headers.split(b" ", 2)[1][:3] in (b"204", b"304")):
        return head
    if b"\r\ntransfer-encoding: chunked" in headers:
        return head + _read_chunks(reader)
    length = 0
    for line in headers.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    body = reader.read(length) if length else b""
    return head + body


def _read_chunks(reader: BinaryIO) -> bytes:
    body = b""
    while True:
        line = reader.readline()
        size = int(line.partition(b";")[0], 16)
        body += line + reader.read(size + 2)
        if size == 0:
            return body


def _reset(sock: socket.socket) -> None:
    """Close so that the other side gets a reset."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _close(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        sock.close()
