"""Secrets that are put everywhere a user may put one, and looked for everywhere else."""

import base64
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

SECRETS = {
    "userinfo": "canary-userinfo-1a",
    "token": "canary-token-2b",
    "password": "canary-password-3c",
    "api_key": "canary-apikey-4d",
    "database": "canary-database-5e",
    "proxy": "canary-proxy-6f",
    "header": "canary-header-7g",
}
BASIC = base64.b64encode(f"bob:{SECRETS['password']}".encode()).decode()


def found_in(text: str) -> list[str]:
    """Name the secrets that a text holds, as they are or as a header carries them."""
    texts = SECRETS | {"basic": BASIC}
    return [name for name, secret in texts.items() if secret in text]


def found_in_files(files: Iterable[Path]) -> list[str]:
    """Look at every byte of files: rows, free pages, write-ahead logs."""
    return [
        f"{name} in {file.name}"
        for file in files
        if file.is_file()
        for name in found_in(file.read_bytes().decode("latin-1"))
    ]


def rows_of(file: Path) -> str:
    """Give every row of a SQLite file as text, so that a test knows that there were any."""
    with closing(sqlite3.connect(file)) as connection:
        return "\n".join(connection.iterdump())
