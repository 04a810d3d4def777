"""Page tokens: opaque texts that say where the next page begins."""

import base64
import binascii
import json
from typing import Any

from hokusai_core.errors import InvalidInputError


def write_token(*position: int | str) -> str:
    """Write the parts of a position as a token."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def read_token(token: str, shape: tuple[type, ...]) -> tuple[Any, ...]:
    """Read the parts of a position, which have these types; () where the token is empty.

    Raises:
        InvalidInputError: The token is not one of that shape.

    """
    if not token:
        return ()
    try:
        position = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as cause:
        raise _refusal(token) from cause
    if not isinstance(position, list) or tuple(map(type, position)) != shape:
        raise _refusal(token)
    return tuple(position)


def _refusal(token: str) -> InvalidInputError:
    return InvalidInputError(
        f"{token[:80]!r} is not a page token of this search. Begin with an empty one."
    )
