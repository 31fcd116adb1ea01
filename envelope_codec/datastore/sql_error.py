"""The meaning of errors of SQL databases: which part is at fault, and whether the same statement may succeed later.

PostgreSQL's drivers give a SQLSTATE, those of MariaDB and MySQL a number, SQLite's a result code. libpq gives no code
when it can't connect, and Python's SQLite gives none before Python 3.11. Then phrases count, in texts where neither
library puts names.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from envelope_codec.datastore.sql_meanings import (
    CLOSED,
    CONNECTING_PHRASES,
    NETWORK_PHRASES,
    NO_ANSWER,
    NO_HOST,
    NUMBERS,
    READ_ONLY,
    SQLITE,
    SQLITE_PHRASES,
    STATES,
    TLS,
    Meaning,
)
from envelope_codec.errors import StoreRefused


def find_meaning(error: BaseException) -> Meaning:
    """Return what ``error`` means. It is of SQLAlchemy, of a driver, or of the operating system."""
    found, _ = _look_up(error)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return NO_ANSWER if lost and found.kind is StoreRefused else found


def describe(error: BaseException) -> str:
    """Return ``error`` for a log: its code, or the phrase that gave it away. No host, user or table is named."""
    _, known_by = _look_up(error)
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__} {known_by}".strip()


def is_read_only(original: BaseException | None) -> bool:
    """Return whether a driver's error says that the server takes no writes."""
    return original is not None and _look_up_drivers(original)[0] is READ_ONLY


def _look_up(error: BaseException) -> tuple[Meaning, str]:
    """Return the meaning of ``error``, and what it was known by."""
    if isinstance(error, PoolTimeout):
        return NO_ANSWER, "no connection was free"
    if isinstance(error, ssl.SSLError):
        return TLS, "TLS"
    if isinstance(error, socket.gaierror):
        return NO_HOST, ""
    if isinstance(error, ConnectionRefusedError):
        return CLOSED, ""
    original = getattr(error, "orig", None)
    if not isinstance(error, DBAPIError) or original is None:
        return NO_ANSWER, ""
    return _look_up_drivers(original)


def _look_up_drivers(original: BaseException) -> tuple[Meaning, str]:
    """Return the meaning of a driver's own error, and what it was known by."""
    number, state, result = _number(original), _state(original), getattr(original, "sqlite_errorcode", None)
    if number is not None:
        found = NUMBERS.get(number)
        return (found, str(number)) if found is not None else _search(original, NETWORK_PHRASES, str(number))
    if state:
        return STATES.get(state) or STATES.get(state[:2], NO_ANSWER), state
    if isinstance(result, int):
        found, name = SQLITE.get(result & 0xFF), str(getattr(original, "sqlite_errorname", result))
        # SQLite gives 1 where it has no code: for a missing table, and for everything that is wrong in a statement.
        return (found, name) if found is not None else _search(original, SQLITE_PHRASES, name)
    if type(original).__module__.partition(".")[0] in ("sqlite3", "aiosqlite"):
        return _search(original, SQLITE_PHRASES)
    return _search(original, CONNECTING_PHRASES)


def _search(original: BaseException, phrases: Iterable[tuple[str, Meaning]], known_by: str = "") -> tuple[Meaning, str]:
    # The words before the last "failed: " name host and port.
    text = str(original).rpartition("failed: ")[2]
    for phrase, found in phrases:
        if re.search(phrase, text):
            return found, f"{known_by} {phrase}".strip()
    return NO_ANSWER, known_by


def _number(original: BaseException) -> int | None:
    """Return the number that MariaDB and MySQL give an error, as their drivers have it, or None."""
    first = original.args[0] if original.args else None
    return first if isinstance(first, int) else None


def _state(original: BaseException) -> str:
    return str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")
