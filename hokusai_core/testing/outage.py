"""Outages that a test scripts: what the next calls meet, one after the other."""

from types import TracebackType
from typing import Literal, Self

from hokusai_core.errors import InvalidInputError
from hokusai_core.testing.failure_script import FailureScript

Happening = Literal["ok", "refused", "lost request", "lost answer", "late"]
"""What a call meets: it is carried out; the connection is refused; the request is lost and the call
times out; it is carried out and the answer is lost; it times out and is carried out later."""


class Outage:
    """Scripts the outages of one mock; also a context manager for a whole one.

    ::

        with outage:                                  # every call is refused
            ...
        outage.script("ok", "lost answer", "refused")  # the next three writes

    Args:
        mock: The backend that fails.
    """

    def __init__(self, mock: FailureScript) -> None:
        self._mock = mock

    def begin(self) -> None:
        """Refuse every call from now on."""
        self._mock.down()

    def end(self) -> None:
        """Answer again; what :meth:`script` told and has not happened yet, happens."""
        self._mock.up()

    def script(self, *happenings: Happening | BaseException) -> None:
        """Say what the next calls meet, in order; afterwards all is well.

        Args:
            happenings: ``ok``, ``lost request``, ``lost answer`` and ``late`` are about the next
                write; ``refused``, or an error to be raised, about the next call of any kind.

        Raises:
            InvalidInputError: There is no such happening; nothing is scripted.
        """
        known = {
            "ok": self._mock.succeed,
            "refused": self._mock.refuse,
            "lost request": self._mock.time_out_before_applying,
            "lost answer": self._mock.time_out_after_applying,
            "late": self._mock.delay_effect,
        }
        for happening in happenings:
            if not isinstance(happening, BaseException) and happening not in known:
                raise InvalidInputError(
                    f"{happening!r} cannot happen; take one of {', '.join(known)}, or an error."
                )
        for happening in happenings:
            if isinstance(happening, BaseException):
                self._mock.fail_next(happening)
            else:
                known[happening]()

    def land_late_effects(self) -> int:
        """Carry out what was ``late``, in order; returns how many writes were accepted."""
        return self._mock.land_late_effects()

    def __enter__(self) -> Self:
        """Begin."""
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, also after a failure."""
        self.end()
