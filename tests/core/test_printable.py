"""Texts of servers and users do nothing to a terminal."""

import pytest

from hokusai_core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m\x90q\x9c", r"\x9b31m\x90q\x9c"),
        ("a\tb\rc\nd\x7f", r"a\x09b\x0dc\x0ad\x7f"),
        ("safe\u202egnp.exe\u2066\u2069\u200f\u061c", r"safe\u202egnp.exe\u2066\u2069\u200f\u061c"),
        ("one\u2028two\x85three", r"one\u2028two\x85three"),
        ("é 🎉 C:\\x1b עברית", "é 🎉 C:\\x1b עברית"),
    ],
)
def test_what_would_act_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_ends_of_lines_stay_where_they_are_ours() -> None:
    assert printable("one\n\x1btwo\r\n", lines=True) == "one\n\\x1btwo\\x0d\n"
