"""A proxy that misleads about single requests: lost answers, and requests that arrive late.

::

    with LateProxy(server.port) as proxy:
        trap = proxy.trap("POST", "/runs/create", "late")
        ...                       # the client sends it, and gives up without an answer
        trap.wait()
        ...                       # the client, or another one, tries again
        trap.deliver()            # only now the server gets the first request
"""

import fnmatch
import socket
import threading
from typing import Literal

from tests.support.fault_proxy import FaultProxy, Mode, read_message

Fault = Literal["late", "drop_answer", "reset_after", "hold_answer"]
_ANSWER_SECONDS = 30.0


class Trap:
    """Catches the next request with this method, whose path ends so, and that holds one of ``marks``.

    ``path`` may hold ``*``; without marks every such request is meant.

    ``late``: the server does not get it until :meth:`deliver`; the client never gets an answer.
    The other faults are those of :class:`FaultProxy`: the server carries the request out.
    """

    def __init__(
        self, port: int, method: str, path: str, fault: Fault, marks: tuple[str, ...]
    ) -> None:
        self.fault = fault
        self.request = b""
        self._port = port
        self._line = f"{method} *{path}"
        self._marks = tuple(mark.encode() for mark in marks)
        self._sprung = threading.Event()

    def catches(self, request: bytes) -> bool:
        """Say whether the request is the one."""
        method, target, _ = request.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        path = target.partition("?")[0]
        marked = not self._marks or any(mark in request for mark in self._marks)
        return marked and fnmatch.fnmatchcase(f"{method} {path}", self._line)

    def spring(self, request: bytes) -> None:
        """Keep the request."""
        self.request = request
        self._sprung.set()

    def wait(self, seconds: float = 30.0) -> None:
        """Wait until the request has come, and where it is not late, the server has answered it."""
        assert self._sprung.wait(seconds), f"no request {self._line} came"

    def deliver(self) -> int:
        """Let the server carry out the kept request now; gives the status of its answer."""
        self.wait(0)
        with socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_SECONDS) as server:
            server.sendall(self.request)
            answer = read_message(server.makefile("rb"), answer=True)
        assert answer is not None
        return int(answer.split(b" ", 2)[1])


class LateProxy(FaultProxy):
    """Hands requests through, but for those that a trap waits for.

    Args:
        upstream_port: Port of the server on 127.0.0.1.
    """

    def __init__(self, upstream_port: int) -> None:
        self._traps: list[Trap] = []
        self._traps_lock = threading.Lock()
        self._in_thread = threading.local()
        self._server_port = upstream_port
        super().__init__(upstream_port)

    def trap(self, method: str, path: str, fault: Fault, *marks: str) -> Trap:
        """Set a trap for one request."""
        trap = Trap(self._server_port, method, path, fault, marks)
        with self._traps_lock:
            self._traps.append(trap)
        return trap

    def _mode_for(self, request: bytes) -> Mode:
        with self._traps_lock:
            for trap in self._traps:
                if trap.catches(request):
                    self._traps.remove(trap)
                    break
            else:
                return super()._mode_for(request)
        if trap.fault == "late":
            trap.spring(request)
            return "black_hole"
        self._in_thread.trap, self._in_thread.request = trap, request
        return trap.fault

    def _pass_on(self, client: socket.socket, answer: bytes, mode: Mode) -> bool:
        trap: Trap | None = getattr(self._in_thread, "trap", None)
        if trap is not None:
            self._in_thread.trap = None
            trap.spring(self._in_thread.request)
        return super()._pass_on(client, answer, mode)
