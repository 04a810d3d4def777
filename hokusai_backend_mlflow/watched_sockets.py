"""An HTTP adapter whose sockets are bounded as a whole, not only between two bytes.

A read timeout alone lets a server that sends a byte a second hold a call for ever. Here each send
and each receive is armed anew with the time that a :class:`Watch` has left, and host names are
looked up in a thread that is waited for no longer than the connect timeout.
"""

import io
import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

Address = tuple[int, int, int, str, Any]


class Watch:
    """Bounds the socket waits of one request, and remembers whether any byte was sent.

    Args:
        remaining: Gives the seconds that the next wait may last.

    """

    def __init__(self, remaining: Callable[[], float]) -> None:
        self.remaining = remaining
        self.sent = False

    def arm(self, sock: socket.socket) -> None:
        """Set the socket's timeout to what is left; raises TimeoutError where nothing is."""
        seconds = self.remaining()
        if seconds <= 0:
            raise TimeoutError("no time is left")
        sock.settimeout(seconds)


_current: ContextVar[Watch] = ContextVar("hokusai_mlflow_watch")


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let the requests that this thread sends inside the block be bounded by the watch."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


class WatchedSocket:
    """A connected socket, plain or TLS, each of whose sends and receives is armed by a watch."""

    def __init__(self, sock: socket.socket, watch: Watch) -> None:
        self._sock = sock
        self.watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: Any) -> None:
        """Send everything; the watch is asked before each part."""
        view = memoryview(data).cast("B")
        self.watch.sent = True
        while view:
            self.watch.arm(self._sock)
            view = view[self._sock.send(view) :]

    def makefile(
        self, mode: str = "rb", buffering: int | None = None, **_: Any
    ) -> io.BufferedReader:
        """Give the reading side as a file, as ``http.client`` wants it."""
        size = io.DEFAULT_BUFFER_SIZE if buffering in (None, -1) else buffering or 0
        raw = cast("io.RawIOBase", self._sock.makefile("rb", buffering=0))
        return io.BufferedReader(_WatchedFile(raw, self._sock, self.watch), max(size, 1))


class _WatchedFile(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, watch: Watch) -> None:
        self._raw = raw
        self._sock = sock
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._watch.arm(self._sock)
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Watched(HTTPConnection):
    """What both kinds of connection share."""

    def connect(self) -> None:
        super().connect()
        self.sock = cast("Any", WatchedSocket(self.sock, _current.get()))

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if isinstance(self.sock, WatchedSocket):
            self.sock.watch = _current.get()
        super().putrequest(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        seconds = float(cast("float", self.timeout))
        ends = time.monotonic() + seconds
        try:
            addresses = _look_up(self.host, self.port, seconds)
        except TimeoutError as cause:
            raise ConnectTimeoutError(
                self, f"No address of {self.host} was found in time"
            ) from cause
        except OSError as cause:
            raise NameResolutionError(self.host, self, cast("socket.gaierror", cause)) from cause
        failure: OSError = OSError(f"{self.host} has no address")
        for index, address in enumerate(addresses):
            share = (ends - time.monotonic()) / (len(addresses) - index)
            if share <= 0:
                failure = TimeoutError("timed out")
                break
            try:
                return self._connected(address, share)
            except OSError as cause:
                failure = cause
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"Connecting to {self.host} timed out") from failure
        raise NewConnectionError(self, f"Connecting to {self.host} failed") from failure

    def _connected(self, address: Address, seconds: float) -> socket.socket:
        family, kind, protocol, _, where = address
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds)
            if self.source_address:
                sock.bind(self.source_address)
            sock.connect(where)
        except BaseException:
            sock.close()
            raise
        return sock


class _WatchedHTTPConnection(_Watched):
    """``http``."""


class _WatchedHTTPSConnection(_Watched, HTTPSConnection):
    """``https``."""


class _WatchedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTPConnection


class _WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = cast("Any", _WatchedHTTPSConnection)


_POOLS: dict[str, Any] = {"http": _WatchedHTTPPool, "https": _WatchedHTTPSPool}


class WatchedAdapter(HTTPAdapter):
    """Sends without retries, over watched sockets. Use inside :func:`watching`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager with the watched pools."""
        super().init_poolmanager(*args, **kwargs)
        cast("Any", self.poolmanager).pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Give the manager for an HTTP proxy, with the watched pools; SOCKS keeps its own."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            cast("Any", manager).pool_classes_by_scheme = _POOLS
        return manager


def _look_up(host: str, port: int | None, seconds: float) -> list[Address]:
    """Find a host's addresses; raises TimeoutError, or what the look-up raised."""
    if _needs_no_network(host):
        return _addresses(host, port)
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def find() -> None:
        try:
            answers.put(_addresses(host, port))
        except OSError as cause:
            answers.put(cause)
        except UnicodeError:
            answers.put(socket.gaierror(socket.EAI_NONAME, "not a host name"))

    try:
        threading.Thread(target=find, name="hokusai-name-look-up", daemon=True).start()
    except RuntimeError:  # the interpreter is shutting down and starts no threads any more
        return _addresses(host, port)
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("the look-up of a host name timed out") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _addresses(host: str, port: int | None) -> list[Address]:
    return cast("list[Address]", socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _needs_no_network(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host == "localhost"
    return True
