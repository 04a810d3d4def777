"""Texts of servers and users, as a terminal and a log may be given them."""

import re

_ACTS = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: move the cursor, rename the window, answer as if typed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi controls: show what follows in another order
    "\u2028\u2029"  # begin a line, too
)
_ACTING = re.compile(f"[{_ACTS}]")
_ACTING_IN_LINES = re.compile(f"(?!\n)[{_ACTS}]")
_LAST_BYTE = 0xFF


def printable(text: str, *, lines: bool = False) -> str:
    r"""Give a text in which no character does anything but show itself.

    Control characters are replaced by ``\xNN``, those that change the direction of writing and the
    separators of lines and paragraphs by ``\uNNNN``. A text that was made so stays as it is.

    Args:
        text: What another wrote: the name of a thing, a server's message.
        lines: Leave ends of lines; for a text whose lines are ours.
    """
    return (_ACTING_IN_LINES if lines else _ACTING).sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= _LAST_BYTE else f"\\u{code:04x}"
