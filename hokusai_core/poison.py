"""Operations that the server fails on again and again, while it carries out others of the kind.

A server error (5xx) is transient by its class: a database may be read-only, a pool dry. But some
operations make a server fail each time. One of these is told apart from a server in trouble by
this: others of its kind succeed between its failures.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

CONFIRMATIONS = 3
"""Failures, each after a success of the kind, until an operation may be taken for poison: a server
that heals in steps fails and succeeds in turns for a while."""

_MOST_REMEMBERED = 10_000


@dataclass
class _History:
    """Successes of the kind at the last failure, and how many failures came after a new success."""

    successes: int
    confirmations: int = 0


class PoisonGuard:
    """Tells operations that will never succeed from a server that is in trouble. Thread-safe.

    One for each destination and process, shared by its workers. What it knows goes with the
    process; then it begins anew, which delays a verdict and changes none.

    Args:
        max_attempts: Attempts before an operation can be condemned.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._lock = threading.RLock()
        self._successes: dict[str, int] = {}
        self._failures: OrderedDict[str, _History] = OrderedDict()

    def failed(self, op_id: str, kind: str) -> None:
        """Note a failure that may have been applied: the server took it and broke."""
        with self._lock:
            successes = self._successes.get(kind, 0)
            history = self._failures.setdefault(op_id, _History(successes))
            if successes > history.successes:
                history.successes = successes
                history.confirmations += 1
            self._failures.move_to_end(op_id)
            if len(self._failures) > _MOST_REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, kind: str) -> None:
        """Note that the server carried out an operation of the kind."""
        with self._lock:
            self._successes[kind] = self._successes.get(kind, 0) + 1

    def is_poison(self, op_id: str, kind: str, attempts: int) -> bool:
        """Say whether an operation, after so many attempts in all, shall become a dead letter.

        False while nothing of its kind succeeds: a database that is read-only condemns nobody.
        """
        with self._lock:
            history = self._failures.get(op_id)
            return (
                history is not None
                and self._successes.get(kind, 0) > 0
                and attempts >= self._max_attempts
                and history.confirmations >= CONFIRMATIONS
            )
