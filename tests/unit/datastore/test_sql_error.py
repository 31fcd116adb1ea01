"""What each error of a SQL database becomes: a reason of its own, and whether it may pass by itself."""

from __future__ import annotations

import socket
import sqlite3
import ssl
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from envelope_codec.cli.store_hint import store_hint
from envelope_codec.cli.stores import wait_for_sqlite_threads
from envelope_codec.datastore.sql_error import describe, find_meaning, is_read_only
from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.storage.sql import SqlStore


class DriverError(Exception):
    """As a driver raises it."""

    def __init__(self, *args: object, sqlstate: str | None = None) -> None:
        super().__init__(*args)
        self.sqlstate = sqlstate


def wrapped(original: BaseException, *, lost: bool = False) -> DBAPIError:
    return OperationalError("INSERT hush", {"data": b"hush"}, original, connection_invalidated=lost)


REFUSED, OUTAGE = StoreRefused, StoreUnavailable

STATES = [
    ("28P01", REFUSED, "login"),
    ("28000", REFUSED, "login"),
    ("3D000", REFUSED, "database does not exist"),
    ("3F000", REFUSED, "table does not exist"),
    ("42P01", REFUSED, "table does not exist"),
    ("42703", REFUSED, "columns"),
    ("42501", REFUSED, "permission"),
    ("42601", REFUSED, "another kind or version"),
    ("42P02", REFUSED, "log has its code"),
    ("0A000", REFUSED, "another kind or version"),
    ("22001", REFUSED, "as many bytes"),
    ("54000", REFUSED, "as many bytes"),
    ("23514", REFUSED, "constraint"),
    ("53100", REFUSED, "full"),
    ("25006", OUTAGE, "replica"),
    ("53300", OUTAGE, "too many connections"),
    ("53200", OUTAGE, "memory"),
    ("57P01", OUTAGE, "stopping"),
    ("57P03", OUTAGE, "starting"),
    ("57014", OUTAGE, "took too long"),
    ("40001", OUTAGE, "another transaction"),
    ("40P01", OUTAGE, "another transaction"),
    ("55P03", OUTAGE, "locked"),
    ("58030", OUTAGE, "disk"),
    ("XX000", OUTAGE, "internal"),
    ("08006", OUTAGE, "did not answer"),
    ("ZZ999", OUTAGE, "did not answer"),
]
NUMBERS = [
    (1045, REFUSED, "login"),
    (1698, REFUSED, "login"),
    (1862, REFUSED, "login"),
    (3118, REFUSED, "locked"),
    (4151, REFUSED, "locked"),
    (1130, REFUSED, "this host"),
    (1049, REFUSED, "database does not exist"),
    (1146, REFUSED, "table does not exist"),
    (1054, REFUSED, "columns"),
    (1044, REFUSED, "permission"),
    (1142, REFUSED, "permission"),
    (1021, REFUSED, "full"),
    (1114, REFUSED, "full"),
    (1153, REFUSED, "as many bytes"),
    (1406, REFUSED, "as many bytes"),
    (4025, REFUSED, "constraint"),
    (1064, REFUSED, "another kind or version"),
    (1290, OUTAGE, "replica"),
    (1836, OUTAGE, "replica"),
    (3159, OUTAGE, "TLS"),
    (1040, OUTAGE, "too many connections"),
    (1203, OUTAGE, "too many connections"),
    (1047, OUTAGE, "starting"),
    (1053, OUTAGE, "stopping"),
    (1205, OUTAGE, "locked"),
    (1213, OUTAGE, "another transaction"),
    (1969, OUTAGE, "took too long"),
    (1041, OUTAGE, "memory"),
    (1030, OUTAGE, "disk"),
    (2003, OUTAGE, "did not answer"),
    (2013, OUTAGE, "did not answer"),
    (9999, OUTAGE, "did not answer"),
]
AT = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '
CONNECTING = [
    (AT + 'FATAL:  password authentication failed for user "hush"', REFUSED, "login"),
    (AT + 'FATAL:  role "hush" does not exist', REFUSED, "login"),
    (AT + 'FATAL:  role "hush" is not permitted to log in', REFUSED, "login"),
    (AT + "fe_sendauth: no password supplied", REFUSED, "login"),
    (AT + 'FATAL:  no pg_hba.conf entry for host "hush", user "hush", no encryption', REFUSED, "host"),
    (AT + 'FATAL:  database "hush" does not exist', REFUSED, "database does not exist"),
    (AT + 'FATAL:  permission denied for database "hush"', REFUSED, "permission"),
    ('connection is bad: invalid port number: "hush"', REFUSED, "options"),
    (AT + "server does not support SSL, but SSL was required", OUTAGE, "TLS"),
    (AT + "SSL error: certificate verify failed", OUTAGE, "TLS"),
    (AT + 'server certificate for "hush" does not match host name "hush"', OUTAGE, "TLS"),
    (AT + 'root certificate file "/hush" does not exist', OUTAGE, "TLS"),
    (AT + "FATAL:  sorry, too many clients already", OUTAGE, "too many connections"),
    (AT + 'FATAL:  too many connections for role "hush"', OUTAGE, "too many connections"),
    (AT + "FATAL:  remaining connection slots are reserved for roles with SUPERUSER", OUTAGE, "too many connections"),
    (AT + "FATAL:  the database system is starting up", OUTAGE, "starting"),
    (AT + "FATAL:  the database system is in recovery mode", OUTAGE, "recovering"),
    (AT + "session is read-only", OUTAGE, "replica"),
    (AT + "Connection refused", OUTAGE, "nothing listens"),
    ("failed to resolve host 'hush': [Errno -2] Name or service not known", OUTAGE, "host is not known"),
    ('could not translate host name "hush" to address: Temporary failure in name resolution', OUTAGE, "DNS"),
    ("connection timeout expired", OUTAGE, "did not answer"),
    ('connection to server at "too many clients", port 1 failed: timeout expired', OUTAGE, "did not answer"),
]  # fmt: skip


def assert_told(original: BaseException, kind: type[Exception], said: str) -> None:
    error = wrapped(original)
    found = find_meaning(error)
    assert found.kind is kind
    assert said in found.reason
    fixed = found.error("put")
    assert (type(fixed), fixed.operation, str(fixed)) == (kind, "put", found.reason)
    assert "hush" not in describe(error)
    assert store_hint("postgresql", fixed, writes=True)


@pytest.mark.parametrize(("state", "kind", "said"), STATES)
def test_each_sqlstate_of_postgresql(state: str, kind: type[Exception], said: str) -> None:
    assert_told(DriverError("hush", sqlstate=state), kind, said)
    assert state in describe(wrapped(DriverError("hush", sqlstate=state)))


@pytest.mark.parametrize(("number", "kind", "said"), NUMBERS)
def test_each_number_of_mariadb_and_mysql(number: int, kind: type[Exception], said: str) -> None:
    assert_told(DriverError(number, "hush"), kind, said)
    assert str(number) in describe(wrapped(DriverError(number, "hush")))


@pytest.mark.parametrize(("text", "kind", "said"), CONNECTING)
def test_each_text_of_libpq_that_has_no_code(text: str, kind: type[Exception], said: str) -> None:
    assert_told(DriverError(text), kind, said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (wrapped(DriverError(2003, "Can't connect ([Errno -2] Name or service not known)")), "host is not known"),
        (wrapped(DriverError(2003, "Can't connect ([Errno 111] Connect call failed ('hush', 1))")), "nothing listens"),
        (socket.gaierror(-2, "hush"), "host is not known"),
        (ConnectionRefusedError(111, "hush"), "nothing listens"),
    ],
)
def test_the_way_to_the_server_has_reasons_of_its_own(error: Exception, said: str) -> None:
    found = find_meaning(error)
    assert found.kind is StoreUnavailable
    assert said in found.reason
    assert "hush" not in f"{found.reason} {describe(error)}"


def test_a_refused_certificate_of_mariadb_is_tls() -> None:
    text = "Can't connect to MySQL server on 'hush' ([SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed)"
    assert_told(DriverError(2003, text), OUTAGE, "TLS")
    assert "TLS" in find_meaning(ssl.SSLCertVerificationError("hush")).reason


def test_a_lost_connection_is_no_refusal() -> None:
    lost = wrapped(DriverError("hush", sqlstate="42P01"), lost=True)
    assert find_meaning(lost).kind is OUTAGE
    assert "stopping" in find_meaning(wrapped(DriverError("hush", sqlstate="57P01"), lost=True)).reason


def test_what_is_no_error_of_a_database_is_no_answer() -> None:
    for error in (OSError("hush"), PoolTimeout("hush"), wrapped(DriverError())):
        assert find_meaning(error).reason == "the database did not answer"
        assert "hush" not in describe(error)


def test_read_only_is_known_so_that_the_next_connection_may_lead_elsewhere() -> None:
    assert is_read_only(DriverError(sqlstate="25006"))
    assert is_read_only(DriverError(1290, "hush"))
    assert not is_read_only(DriverError(sqlstate="42P01"))
    assert not is_read_only(None)


# --- SQLite itself


async def told(url: str) -> tuple[type[Exception], str, str]:
    """Of storing to ``url``: class, reason, and what is logged."""
    store = SqlStore(url)
    try:
        with pytest.raises((StoreRefused, StoreUnavailable)) as caught:
            await store.put("a" * 32, b"some bytes")
    finally:
        await store.close()
        await wait_for_sqlite_threads()
    return type(caught.value), str(caught.value), store_hint("sqlite", caught.value, writes=True)


def made(path: Path, *statements: str) -> Path:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


async def test_a_missing_table_says_how_to_make_it(tmp_path: Path) -> None:
    kind, reason, fix = await told(f"sqlite:///{made(tmp_path / 'p.db', 'CREATE TABLE t (x)')}")
    assert (kind, reason) == (REFUSED, "the table does not exist, or its schema")
    assert "storage ddl" in fix


async def test_a_table_with_other_columns(tmp_path: Path) -> None:
    path = made(tmp_path / "p.db", "CREATE TABLE envelope_payloads (id)")
    kind, reason, _ = await told(f"sqlite:///{path}")
    assert (kind, "columns" in reason) == (REFUSED, True)


async def test_a_missing_folder(tmp_path: Path) -> None:
    kind, reason, fix = await told(f"sqlite:///{tmp_path}/astray/p.db")
    assert (kind, "can't be opened" in reason) == (REFUSED, True)
    assert "make the folder" in fix


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 1_000)
    kind, reason, _ = await told(f"sqlite:///{tmp_path}/text.db")
    assert (kind, "no database" in reason) == (REFUSED, True)


async def test_a_file_that_is_read_only(tmp_path: Path) -> None:
    path = made(tmp_path / "p.db", *ddl(tmp_path))
    kind, reason, _ = await told(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert (kind, "read-only" in reason) == (REFUSED, True)


async def test_a_file_that_is_full(tmp_path: Path) -> None:
    path = made(tmp_path / "p.db", *ddl(tmp_path))
    store = SqlStore(f"sqlite:///{path}")

    def small(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA max_page_count = 8")
        cursor.close()

    event.listen(store._database._engine.sync_engine, "connect", small)
    with pytest.raises(StoreRefused, match="is full"):
        await store.put("a" * 32, bytes(100_000))
    await store.close()


async def test_a_file_that_somebody_locks(tmp_path: Path) -> None:
    path = made(tmp_path / "p.db", *ddl(tmp_path))
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        kind, reason, _ = await told(f"sqlite:///{path}?timeout=0.01")
    other.close()
    assert (kind, "locked" in reason) == (OUTAGE, True)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("no such table: hush", REFUSED, "table does not exist"),
        ("table hush has no column named hush", REFUSED, "columns"),
        ("attempt to write a readonly database", REFUSED, "read-only"),
        ("unable to open database file", REFUSED, "can't be opened"),
        ("file is not a database", REFUSED, "no database"),
        ("database disk image is malformed", REFUSED, "no database"),
        ("database or disk is full", REFUSED, "full"),
        ("database is locked", OUTAGE, "locked"),
        ("disk I/O error", OUTAGE, "disk"),
        ("whatever hush", OUTAGE, "did not answer"),
    ],
)
def test_sqlite_of_a_python_that_gives_no_codes(text: str, kind: type[Exception], said: str) -> None:
    assert_told(sqlite3.OperationalError(text), kind, said)


def ddl(folder: Path) -> list[str]:
    return [one for one in SqlStore(f"sqlite:///{folder}/p.db").ddl.split(";") if one.strip()]
