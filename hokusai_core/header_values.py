"""Tokens and keys as people give them, made fit for a header of HTTP."""

_LAST = "\xff"
"""Headers are sent as Latin-1."""


def header_value(text: str) -> str:
    """Give a token without the whitespace around it, such as the line end of the file it comes from.

    Raises:
        ValueError: No header can hold it. The text says why, and never what was given.
    """
    value = text.strip()
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError(
            "it holds a line end or another control character, which cannot be sent; copy it again"
        )
    if any(character > _LAST for character in value):
        raise ValueError(
            "it holds a character outside of Latin-1, which cannot be sent; copy it again"
        )
    return value
