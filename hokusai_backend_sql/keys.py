"""The keys between operations as they are stored: PostgreSQL's indexes take about 2,700 bytes."""

import hashlib
from collections.abc import Iterable

_LONGEST = 1000
"""Bytes above which a key is stored by its digest: a destination stands beside it in the index."""

_SHOWN = 100
"""Characters of such a key that people see."""


def stored_key(key: str) -> str:
    """Give a key as it is stored: as it is, or its beginning and its SHA-256 where it is long."""
    encoded = key.encode(errors="surrogatepass")
    if len(encoded) <= _LONGEST:
        return key
    return f"{key[:_SHOWN]}... (SHA-256 {hashlib.sha256(encoded).hexdigest()})"


def looked_up(keys: Iterable[str]) -> set[str]:
    """Give what is looked up for these keys: an older release stored long ones as they were."""
    wanted = set(keys)
    return wanted | {stored_key(key) for key in wanted}
