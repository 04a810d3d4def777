"""A lease that is kept while a long call runs that tells nothing of how far it is."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hokusai_core.errors import JournalUnavailableError, LeaseLostError

logger = logging.getLogger(__name__)

_SHORTEST_LIMIT_SECONDS = 600.0
_SLOWEST_BYTES_PER_SECOND = 250_000


def upload_limit(size: int) -> float:
    """Give for how many seconds at most the lease is kept for an upload of so many bytes.

    An object store's own client may never come back; then another worker shall have its turn.
    """
    return max(_SHORTEST_LIMIT_SECONDS, size / _SLOWEST_BYTES_PER_SECOND)


@contextmanager
def kept_meanwhile(
    keep_lease: Callable[[], None], every_seconds: float, at_most_seconds: float
) -> Iterator[None]:
    """Call ``keep_lease`` again and again, in a thread, as long as the ``with`` block runs.

    What goes wrong with it is not raised: a lease that is lost shows when the work is settled.

    Args:
        keep_lease: Renews the lease where that is due. Thread-safe.
        every_seconds: Pause between two calls.
        at_most_seconds: After so long the lease is left to run out.
    """
    over = threading.Event()
    ends = time.monotonic() + at_most_seconds

    def keep() -> None:
        while not over.wait(every_seconds) and time.monotonic() < ends:
            try:
                keep_lease()
            except LeaseLostError:
                return
            except JournalUnavailableError as failure:
                logger.debug("The lease of an upload was not renewed now: %s", failure)

    thread = threading.Thread(target=keep, name="hokusai-lease", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # too many threads, or the interpreter ends
        yield
        return
    try:
        yield
    finally:
        over.set()
        thread.join()
