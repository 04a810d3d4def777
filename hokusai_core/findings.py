"""What an examination of a set-up found: one line for each thing looked at."""

from typing import Literal

from pydantic import computed_field

from hokusai_core.values import Value

FindingState = Literal["ok", "warning", "failed"]
"""``ok``; ``warning``: works, and may surprise; ``failed``: does not work as it is."""


class Finding(Value):
    """One thing that was looked at.

    ``name`` says what (``settings``, ``server``, ...), ``text`` what was found, ``advice`` what to
    do; "" where there is nothing to do. None of them holds credentials.
    """

    name: str
    state: FindingState
    text: str
    advice: str = ""


class Diagnosis(Value):
    """All findings about a set-up, in the order in which they were looked at."""

    findings: tuple[Finding, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sound(self) -> bool:
        """Whether nothing failed; warnings may be there."""
        return all(finding.state != "failed" for finding in self.findings)
