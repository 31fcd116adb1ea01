"""The search for plaintext in what a Temporal server has stored: histories, and the dev server's database."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path


class Needles:
    """Texts to search for, as UTF-8 and as base64.

    Args:
        texts: at least 8 bytes of UTF-8 each, so that finding one is no coincidence.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._spellings = {text: tuple(_spell(text.encode())) for text in texts}

    def find_in(self, haystack: bytes) -> set[str]:
        """Find the texts that ``haystack`` holds, in any spelling."""
        return {text for text, spellings in self._spellings.items() if any(one in haystack for one in spellings)}

    def find_in_database(self, path: Path) -> set[str]:
        """Find the texts that the SQLite database at ``path`` holds.

        Both its files and its rows are searched: the files have deleted rows and the journal too, and a row has in one
        piece what the file scatters over its pages.
        """
        found: set[str] = set()
        for suffix in ("", "-journal", "-wal"):
            with suppress(FileNotFoundError):
                found |= self.find_in(path.with_name(path.name + suffix).read_bytes())
        # Not read-only: the first reader after the last writer may have to recover the write-ahead log.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=30)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                quoted = '"' + table.replace('"', '""') + '"'
                for row in database.execute(f"SELECT * FROM {quoted}"):  # noqa: S608 - a table's own name, quoted
                    found |= self.find_in(b"\0".join(_bytes(value) for value in row))
        return found


def _spell(text: bytes) -> Iterator[bytes]:
    yield text
    for shift in range(3):
        # Some bits of the first and the last character belong to what stands before and after the text.
        encoded = base64.b64encode(b"\0" * shift + text).rstrip(b"=")
        first = -(-shift * 8 // 6)
        last = len(encoded) - (1 if (shift + len(text)) % 3 else 0)
        yield encoded[first:last]
        yield encoded[first:last].replace(b"+", b"-").replace(b"/", b"_")


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
