"""What an error of a SQL database means: which part is at fault, and whether the same statement may succeed later.

PostgreSQL's drivers give a SQLSTATE, those of MariaDB and MySQL a number, SQLite's a result code. libpq gives none when
it can't connect, and Python's SQLite none before 3.11: then phrases count, of texts that neither library puts names in.

Sources: https://www.postgresql.org/docs/current/errcodes-appendix.html,
https://mariadb.com/kb/en/mariadb-error-codes/, https://dev.mysql.com/doc/mysql-errors/8.0/en/,
https://www.sqlite.org/rescode.html.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from envelope_codec.errors import StoreRefused, StoreUnavailable


class Meaning(NamedTuple):
    """What is to be raised."""

    kind: type[StoreRefused | StoreUnavailable]
    reason: str

    def error(self, operation: str) -> StoreRefused | StoreUnavailable:
        """Of this meaning, for ``put``, ``get`` and so on."""
        return self.kind(self.reason, operation=operation)


# What stays until somebody mends it.
_LOGIN = Meaning(StoreRefused, "the database refused the login: wrong user or password, or the account is locked")
_HOST = Meaning(StoreRefused, "the database refuses connections of this user from this host (pg_hba.conf)")
_DATABASE = Meaning(StoreRefused, "the database does not exist on its server")
_TABLE = Meaning(StoreRefused, "the table does not exist, or its schema")
_COLUMN = Meaning(StoreRefused, "the table has other columns than storage ddl prints")
_PERMISSION = Meaning(StoreRefused, "permission on the table or the database is missing")
_FULL = Meaning(StoreRefused, "the database is full: its disk, its table or its quota")
_TOO_LARGE = Meaning(StoreRefused, "the database does not take as many bytes in one statement or value")
_CONSTRAINT = Meaning(StoreRefused, "the table has a constraint that refuses payloads")
_UNSUPPORTED = Meaning(StoreRefused, "the database does not know what was asked for: it is of another kind or version")
_OTHER = Meaning(StoreRefused, "the database refused the statement, and the log has its code")
_OPTIONS = Meaning(StoreRefused, "the driver of the database can't use the URL's host or options")
_FILE = Meaning(StoreRefused, "the file of the database can't be opened: its folder is missing, or permission")
_FILE_READ_ONLY = Meaning(StoreRefused, "the file of the database is read-only")
_NO_DATABASE = Meaning(StoreRefused, "the file is no database, or is damaged")

# What may pass by itself.
_READ_ONLY = Meaning(StoreUnavailable, "the database takes no writes: it is a replica, or read-only")
_TLS = Meaning(StoreUnavailable, "no TLS connection that this side and the database take")
_CONNECTIONS = Meaning(StoreUnavailable, "the database has too many connections")
_STARTING = Meaning(StoreUnavailable, "the database is starting, stopping or recovering")
_LOCKED = Meaning(StoreUnavailable, "the database is locked, or gave way to another transaction")
_SLOW = Meaning(StoreUnavailable, "the database ended the statement: it took too long, or somebody cancelled it")
_OVERLOADED = Meaning(StoreUnavailable, "the database has not enough memory or other resources")
_FAILED = Meaning(StoreUnavailable, "the database failed: an internal error, or one of its disk")
_NO_HOST = Meaning(StoreUnavailable, "the name of the database's host is not known here (DNS)")
_CLOSED = Meaning(StoreUnavailable, "nothing listens at the database's host and port")
_NO_ANSWER = Meaning(StoreUnavailable, "the database did not answer")

OPTIONS, CONSTRAINT = _OPTIONS, _CONSTRAINT
MEANINGS = tuple(value for value in list(vars().values()) if isinstance(value, Meaning))
"""All that `meaning` may return."""


def _each(meaning: Meaning, *codes: str | int) -> dict[str | int, Meaning]:
    return dict.fromkeys(codes, meaning)


# A class of two letters counts where its code is not listed.
_STATES: Mapping[str | int, Meaning] = {
    **_each(_LOGIN, "28"),
    **_each(_DATABASE, "3D"),
    **_each(_TABLE, "3F", "42P01", "42S02"),
    **_each(_COLUMN, "42703", "42S22", "42804", "42P10"),
    **_each(_PERMISSION, "42501"),
    **_each(_UNSUPPORTED, "0A", "42601", "42883", "42704"),
    **_each(_OTHER, "42", "44"),
    **_each(_TOO_LARGE, "22", "54"),
    **_each(_CONSTRAINT, "23"),
    **_each(_FULL, "53100"),
    **_each(_READ_ONLY, "25006"),
    **_each(_CONNECTIONS, "53300"),
    **_each(_OVERLOADED, "53"),
    **_each(_STARTING, "57P01", "57P02", "57P03", "57P04", "57P05"),
    **_each(_LOCKED, "40", "55"),
    **_each(_SLOW, "57014", "25P03", "25P04"),
    **_each(_FAILED, "58", "F0", "XX", "57"),
}
_NUMBERS: Mapping[str | int, Meaning] = {
    **_each(_LOGIN, 1045, 1251, 1396, 1524, 1698, 1820, 1862, 3118, 3955, 4151, 2059, 2061),
    **_each(_HOST, 1129, 1130),
    **_each(_DATABASE, 1046, 1049),
    **_each(_TABLE, 1051, 1146, 1932),
    **_each(_COLUMN, 1054, 1136, 1364, 1366),
    **_each(_PERMISSION, 1044, 1142, 1143, 1227, 1370, 1410),
    **_each(_FULL, 1021, 1114, 3675),
    **_each(_TOO_LARGE, 1118, 1153, 1264, 1301, 1406),
    **_each(_CONSTRAINT, 1048, 1452, 1644, 3819, 4025),
    **_each(_UNSUPPORTED, 1064, 1193, 1235, 1286),
    **_each(_READ_ONLY, 1290, 1792, 1836, 3032),
    **_each(_TLS, 2026, 3159),
    **_each(_CONNECTIONS, 1040, 1203, 1226),
    **_each(_STARTING, 1047, 1053, 1077, 1079, 3168),
    **_each(_LOCKED, 1020, 1205, 1213, 3058, 3572),
    **_each(_SLOW, 1317, 1969, 3024),
    **_each(_OVERLOADED, 1037, 1038, 1041, 1135),
    **_each(_FAILED, 1016, 1023, 1024, 1026, 1030, 1034, 1194, 1195, 1877),
}
_SQLITE: Mapping[str | int, Meaning] = {
    **_each(_PERMISSION, 3, 23),
    **_each(_LOCKED, 5, 6, 15, 17),
    **_each(_OVERLOADED, 7),
    **_each(_FILE_READ_ONLY, 8),
    **_each(_SLOW, 9),
    **_each(_FAILED, 2, 10),
    **_each(_NO_DATABASE, 11, 26),
    **_each(_FULL, 13),
    **_each(_FILE, 14),
    **_each(_TOO_LARGE, 18),
    **_each(_CONSTRAINT, 19, 20),
}
# The first pattern that is in the text counts.
_SQLITE_PHRASES: tuple[tuple[str, Meaning], ...] = (
    ("no such table", _TABLE),
    ("no such column", _COLUMN),
    ("has no column", _COLUMN),
    ("readonly", _FILE_READ_ONLY),
    ("unable to open database file", _FILE),
    ("not a database", _NO_DATABASE),
    ("malformed", _NO_DATABASE),
    ("is full", _FULL),
    ("is locked", _LOCKED),
    ("too big", _TOO_LARGE),
    ("disk I/O error", _FAILED),
    ("syntax error", _UNSUPPORTED),
)
_TLS_PHRASES: tuple[tuple[str, Meaning], ...] = (
    ("does not support SSL", _TLS),
    ("SSL error", _TLS),
    (r"\[SSL", _TLS),
    ("CERTIFICATE_VERIFY_FAILED", _TLS),
    ("server certificate for", _TLS),
    ("(root|client) certificate", _TLS),
    ("private key file", _TLS),
    ("channel binding", _TLS),
)
_WAY_PHRASES: tuple[tuple[str, Meaning], ...] = (
    *_TLS_PHRASES,
    ("[Nn]ame or service not known", _NO_HOST),
    ("[Nn]o address associated with hostname", _NO_HOST),
    ("[Tt]emporary failure in name resolution", _NO_HOST),
    ("nodename nor servname provided", _NO_HOST),
    ("getaddrinfo failed", _NO_HOST),
    ("(translate host name|resolve host)", _NO_HOST),
    ("([Cc]onnection refused|Connect call failed|actively refused)", _CLOSED),
)
_CONNECTING_PHRASES: tuple[tuple[str, Meaning], ...] = (
    *_WAY_PHRASES,
    ("no pg_hba.conf entry", _HOST),
    ("pg_hba.conf rejects", _HOST),
    ('database ".*" does not exist', _DATABASE),
    ("no such database", _DATABASE),
    ('role ".*" does not exist', _LOGIN),
    ("authentication failed", _LOGIN),
    ("no password supplied", _LOGIN),
    ("not permitted to log in", _LOGIN),
    ("permission denied", _PERMISSION),
    ("too many clients", _CONNECTIONS),
    ("too many connections", _CONNECTIONS),
    ("connection slots are reserved", _CONNECTIONS),
    ("no more connections allowed", _CONNECTIONS),
    ("the database system is", _STARTING),
    ("not currently accepting connections", _STARTING),
    ("session is (not )?read-only", _READ_ONLY),
    ("hot standby", _READ_ONLY),
    ("invalid connection option", _OPTIONS),
    ("connection is bad: invalid", _OPTIONS),
    ("bad value for", _OPTIONS),
)


def meaning(error: BaseException) -> Meaning:
    """What ``error`` means: of SQLAlchemy, of a driver, or of the operating system."""
    found, _ = _found(error)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return _NO_ANSWER if lost and found.kind is StoreRefused else found


def described(error: BaseException) -> str:
    """``error`` for a log: its code, or the phrase that it was known by. No name of a host, a user or a table."""
    _, known_by = _found(error)
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__} {known_by}".strip()


def is_read_only(original: BaseException | None) -> bool:
    """Whether the server that a driver's error came from takes no writes."""
    return original is not None and _of_driver(original)[0] is _READ_ONLY


def _found(error: BaseException) -> tuple[Meaning, str]:
    if isinstance(error, PoolTimeout):
        return _NO_ANSWER, "no connection was free"
    if isinstance(error, ssl.SSLError):
        return _TLS, "TLS"
    if isinstance(error, socket.gaierror):
        return _NO_HOST, ""
    if isinstance(error, ConnectionRefusedError):
        return _CLOSED, ""
    original = getattr(error, "orig", None)
    if not isinstance(error, DBAPIError) or original is None:
        return _NO_ANSWER, ""
    return _of_driver(original)


def _of_driver(original: BaseException) -> tuple[Meaning, str]:
    number, state, result = _number(original), _state(original), getattr(original, "sqlite_errorcode", None)
    if number is not None:
        found = _NUMBERS.get(number)
        return (found, str(number)) if found is not None else _by_phrase(original, _WAY_PHRASES, str(number))
    if state:
        return _STATES.get(state) or _STATES.get(state[:2], _NO_ANSWER), state
    if isinstance(result, int):
        found, name = _SQLITE.get(result & 0xFF), str(getattr(original, "sqlite_errorname", result))
        # 1 is what SQLite has no code for: a table that is missing, and all that is wrong with a statement.
        return (found, name) if found is not None else _by_phrase(original, _SQLITE_PHRASES, name)
    if type(original).__module__.partition(".")[0] in ("sqlite3", "aiosqlite"):
        return _by_phrase(original, _SQLITE_PHRASES)
    return _by_phrase(original, _CONNECTING_PHRASES)


def _by_phrase(
    original: BaseException, phrases: Iterable[tuple[str, Meaning]], known_by: str = ""
) -> tuple[Meaning, str]:
    # What stands before the last of these names host and port.
    text = str(original).rpartition("failed: ")[2]
    for phrase, found in phrases:
        if re.search(phrase, text):
            return found, f"{known_by} {phrase}".strip()
    return _NO_ANSWER, known_by


def _number(original: BaseException) -> int | None:
    """The number that MariaDB and MySQL give an error, as their drivers have it."""
    first = original.args[0] if original.args else None
    return first if isinstance(first, int) else None


def _state(original: BaseException) -> str:
    return str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")
