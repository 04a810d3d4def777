"""A thread that sleeps until there is something to do."""

import threading

from hokusai_core.reentrant_event import ReentrantEvent


class WokenThread:
    """A thread that begins with the first :meth:`wake` and ends with the process, or with :meth:`stop`.

    A subclass has :meth:`_run`, which looks at ``_woken``, at ``_at_once`` (somebody waits for what is
    done) and at ``_stopping``; all three are set when it has to return.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin_anew()

    def reset_after_fork(self) -> None:
        """In a forked child: there is no thread; the next :meth:`wake` starts one."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        # Reentrant: a signal handler may log in the middle of a call.
        self._lock = threading.RLock()
        self._woken = ReentrantEvent()
        self._at_once = ReentrantEvent()
        self._stopping = ReentrantEvent()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self, *, at_once: bool = False) -> None:
        """Something was queued: start the thread, or let it look again.

        Where no thread can be started, the next call tries again.

        Args:
            at_once: Do not let more gather: somebody waits.
        """
        if at_once:
            self._at_once.set()
        elif self._woken.is_set():
            return
        with self._lock:
            if not self.running and not self._stopping.is_set() and not self._start():
                return
        self._woken.set()

    def stop(self, timeout: float) -> None:
        """End the thread after the step in hand; waits at most ``timeout`` seconds."""
        self._stopping.set()
        self._woken.set()
        self._at_once.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # too many threads, or the interpreter ends
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        """Do the work."""
        raise NotImplementedError
