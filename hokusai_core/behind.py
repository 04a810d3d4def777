"""Work that goes on behind the next request."""

import threading
from collections.abc import Callable


class Behind:
    """A call in a thread of its own, begun at once and waited for later.

    Args:
        call: What to do.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, name="hokusai-settle", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:  # no thread begins while the interpreter ends
            self._thread = None
            self._run()

    def finish(self) -> None:
        """Wait for the end of the call; raises what it raised."""
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as failure:  # noqa: BLE001 - raised where it is waited for
            self._failure = failure
