"""What is to be done as a process ends that ``multiprocessing`` has started."""

import sys
import weakref
from collections.abc import Callable

_AFTER_OTHERS = -100
"""Priority of what is done: after the joining of its own children and the queues of their results."""


def at_the_end_of_child(function: "weakref.WeakMethod[Callable[[], object]]") -> None:
    """Call a method as this process ends, if it is a child that :mod:`multiprocessing` has started.

    Such a child, if it was forked, ends by ``os._exit``, which runs no function of :mod:`atexit`; its
    own finalizers it runs. One that is killed or terminated runs neither.

    Args:
        function: Not called when its object is gone by then.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize

    def call() -> None:
        if (living := function()) is not None:
            living()

    Finalize(None, call, exitpriority=_AFTER_OTHERS)
