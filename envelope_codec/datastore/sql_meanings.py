"""The meanings that errors of SQL databases have, and tables from codes and phrases to meanings.

Sources: https://www.postgresql.org/docs/current/errcodes-appendix.html,
https://mariadb.com/kb/en/mariadb-error-codes/, https://dev.mysql.com/doc/mysql-errors/8.0/en/,
https://www.sqlite.org/rescode.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from envelope_codec.errors import StoreRefused, StoreUnavailable


class Meaning(NamedTuple):
    """The error that is raised, and its text."""

    kind: type[StoreRefused | StoreUnavailable]
    reason: str

    def error(self, operation: str) -> StoreRefused | StoreUnavailable:
        """Make the error of this meaning for ``put``, ``get`` and so on."""
        return self.kind(self.reason, operation=operation)


# These stay until somebody mends the cause.
LOGIN = Meaning(StoreRefused, "the database refused the login: wrong user or password, or the account is locked")
HOST = Meaning(StoreRefused, "the database refuses connections of this user from this host (pg_hba.conf)")
DATABASE = Meaning(StoreRefused, "the database does not exist on its server")
TABLE = Meaning(StoreRefused, "the table does not exist, or its schema")
COLUMN = Meaning(StoreRefused, "the table has other columns than the ddl command prints")
PERMISSION = Meaning(StoreRefused, "permission on the table or the database is missing")
FULL = Meaning(StoreRefused, "the database is full: its disk, its table or its quota")
TOO_LARGE = Meaning(StoreRefused, "the database does not take as many bytes in one statement or value")
CONSTRAINT = Meaning(StoreRefused, "the table has a constraint that refuses what is stored")
UNSUPPORTED = Meaning(StoreRefused, "the database does not know what was asked for: it is of another kind or version")
OTHER = Meaning(StoreRefused, "the database refused the statement, and the log has its code")
OPTIONS = Meaning(StoreRefused, "the driver of the database can't use the URL's host or options")
FILE = Meaning(StoreRefused, "the file of the database can't be opened: its folder is missing, or permission")
FILE_READ_ONLY = Meaning(StoreRefused, "the file of the database is read-only")
NO_DATABASE = Meaning(StoreRefused, "the file is no database, or is damaged")

# These may pass by themselves.
READ_ONLY = Meaning(StoreUnavailable, "the database takes no writes: it is a replica, or read-only")
TLS = Meaning(StoreUnavailable, "no TLS connection that this side and the database take")
CONNECTIONS = Meaning(StoreUnavailable, "the database has too many connections")
STARTING = Meaning(StoreUnavailable, "the database is starting, stopping or recovering")
LOCKED = Meaning(StoreUnavailable, "the database is locked, or gave way to another transaction")
SLOW = Meaning(StoreUnavailable, "the database ended the statement: it took too long, or somebody cancelled it")
OVERLOADED = Meaning(StoreUnavailable, "the database has not enough memory or other resources")
FAILED = Meaning(StoreUnavailable, "the database failed: an internal error, or one of its disk")
NO_HOST = Meaning(StoreUnavailable, "the name of the database's host is not known here (DNS)")
CLOSED = Meaning(StoreUnavailable, "nothing listens at the database's host and port")
NO_ANSWER = Meaning(StoreUnavailable, "the database did not answer")

MEANINGS = tuple(value for value in list(vars().values()) if isinstance(value, Meaning))
"""All meanings."""


def _give(meaning: Meaning, *codes: str | int) -> dict[str | int, Meaning]:
    """Give all these codes one meaning."""
    return dict.fromkeys(codes, meaning)


STATES: Mapping[str | int, Meaning] = {
    **_give(LOGIN, "28"),
    **_give(DATABASE, "3D"),
    **_give(TABLE, "3F", "42P01", "42S02"),
    **_give(COLUMN, "42703", "42S22", "42804", "42P10"),
    **_give(PERMISSION, "42501"),
    **_give(UNSUPPORTED, "0A", "42601", "42883", "42704"),
    **_give(OTHER, "42", "44"),
    **_give(TOO_LARGE, "22", "54"),
    **_give(CONSTRAINT, "23"),
    **_give(FULL, "53100"),
    **_give(READ_ONLY, "25006"),
    **_give(CONNECTIONS, "53300"),
    **_give(OVERLOADED, "53"),
    **_give(STARTING, "57P01", "57P02", "57P03", "57P04", "57P05"),
    **_give(LOCKED, "40", "55"),
    **_give(SLOW, "57014", "25P03", "25P04"),
    **_give(FAILED, "58", "F0", "XX", "57"),
}
"""SQLSTATEs of PostgreSQL. The first two characters, its class, count where the whole code is not listed."""

NUMBERS: Mapping[str | int, Meaning] = {
    **_give(LOGIN, 1045, 1251, 1396, 1524, 1698, 1820, 1862, 3118, 3955, 4151, 2059, 2061),
    **_give(HOST, 1129, 1130),
    **_give(DATABASE, 1046, 1049),
    **_give(TABLE, 1051, 1146, 1932),
    **_give(COLUMN, 1054, 1136, 1364, 1366),
    **_give(PERMISSION, 1044, 1142, 1143, 1227, 1370, 1410),
    **_give(FULL, 1021, 1114, 3675),
    **_give(TOO_LARGE, 1118, 1153, 1264, 1301, 1406),
    **_give(CONSTRAINT, 1048, 1452, 1644, 3819, 4025),
    **_give(UNSUPPORTED, 1064, 1193, 1235, 1286),
    **_give(READ_ONLY, 1290, 1792, 1836, 3032),
    **_give(TLS, 2026, 3159),
    **_give(CONNECTIONS, 1040, 1203, 1226),
    **_give(STARTING, 1047, 1053, 1077, 1079, 3168),
    **_give(LOCKED, 1020, 1205, 1213, 3058, 3572),
    **_give(SLOW, 1317, 1969, 3024),
    **_give(OVERLOADED, 1037, 1038, 1041, 1135),
    **_give(FAILED, 1016, 1023, 1024, 1026, 1030, 1034, 1194, 1195, 1877),
}
"""Error numbers of MariaDB and MySQL."""

SQLITE: Mapping[str | int, Meaning] = {
    **_give(PERMISSION, 3, 23),
    **_give(LOCKED, 5, 6, 15, 17),
    **_give(OVERLOADED, 7),
    **_give(FILE_READ_ONLY, 8),
    **_give(SLOW, 9),
    **_give(FAILED, 2, 10),
    **_give(NO_DATABASE, 11, 26),
    **_give(FULL, 13),
    **_give(FILE, 14),
    **_give(TOO_LARGE, 18),
    **_give(CONSTRAINT, 19, 20),
}
"""Result codes of SQLite."""

# Regular expressions. The first one that is found in the text counts.
SQLITE_PHRASES: tuple[tuple[str, Meaning], ...] = (
    ("no such table", TABLE),
    ("no such column", COLUMN),
    ("has no column", COLUMN),
    ("readonly", FILE_READ_ONLY),
    ("unable to open database file", FILE),
    ("not a database", NO_DATABASE),
    ("malformed", NO_DATABASE),
    ("is full", FULL),
    ("is locked", LOCKED),
    ("too big", TOO_LARGE),
    ("disk I/O error", FAILED),
    ("syntax error", UNSUPPORTED),
)
TLS_PHRASES: tuple[tuple[str, Meaning], ...] = (
    ("does not support SSL", TLS),
    ("SSL error", TLS),
    (r"\[SSL", TLS),
    ("CERTIFICATE_VERIFY_FAILED", TLS),
    ("server certificate for", TLS),
    ("(root|client) certificate", TLS),
    ("private key file", TLS),
    ("channel binding", TLS),
)
NETWORK_PHRASES: tuple[tuple[str, Meaning], ...] = (
    *TLS_PHRASES,
    ("[Nn]ame or service not known", NO_HOST),
    ("[Nn]o address associated with hostname", NO_HOST),
    ("[Tt]emporary failure in name resolution", NO_HOST),
    ("nodename nor servname provided", NO_HOST),
    ("getaddrinfo failed", NO_HOST),
    ("(translate host name|resolve host)", NO_HOST),
    ("([Cc]onnection refused|Connect call failed|actively refused)", CLOSED),
)
CONNECTING_PHRASES: tuple[tuple[str, Meaning], ...] = (
    *NETWORK_PHRASES,
    ("no pg_hba.conf entry", HOST),
    ("pg_hba.conf rejects", HOST),
    ('database ".*" does not exist', DATABASE),
    ("no such database", DATABASE),
    ('role ".*" does not exist', LOGIN),
    ("authentication failed", LOGIN),
    ("no password supplied", LOGIN),
    ("not permitted to log in", LOGIN),
    ("permission denied", PERMISSION),
    ("too many clients", CONNECTIONS),
    ("too many connections", CONNECTIONS),
    ("connection slots are reserved", CONNECTIONS),
    ("no more connections allowed", CONNECTIONS),
    ("the database system is", STARTING),
    ("not currently accepting connections", STARTING),
    ("session is (not )?read-only", READ_ONLY),
    ("hot standby", READ_ONLY),
    ("invalid connection option", OPTIONS),
    ("connection is bad: invalid", OPTIONS),
    ("bad value for", OPTIONS),
)
