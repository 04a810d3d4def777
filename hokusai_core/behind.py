"""Work that goes on behind the next request."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

_Calls = SimpleQueue[tuple[Callable[[], object], "Future[object]"] | None]


class Behind:
    """Calls, one after another, in a thread of their own, which ends when this object is forgotten.

    The thread stays from one call to the next: to begin one costs about as much as a settlement, and
    on a busy machine Linux puts a new thread where it pushes the job's own aside.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: _Calls = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, call: Callable[[], object]) -> "Future[object]":
        """Begin a call at once; its ``result()`` waits for the end, and raises what it raised."""
        outcome: Future[object] = Future()
        if self._thread is None or not self._thread.is_alive():  # the first one, or a forked child
            self._start()
        if self._thread is None:
            _carry_out(call, outcome)
        else:
            self._calls.put((call, outcome))
        return outcome

    def _start(self) -> None:
        calls: _Calls = SimpleQueue()
        thread = threading.Thread(target=_work, args=(calls,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # too many threads, or the interpreter ends
            self._thread = None
            return
        self._thread, self._calls = thread, calls
        weakref.finalize(self, calls.put, None).atexit = False


def _work(calls: _Calls) -> None:
    while (given := calls.get()) is not None:
        _carry_out(*given)
        del given  # what a call holds is not kept until the next one


def _carry_out(call: Callable[[], object], outcome: "Future[object]") -> None:
    try:
        outcome.set_result(call())
    except BaseException as failure:  # noqa: BLE001 - raised where it is waited for
        outcome.set_exception(failure)
