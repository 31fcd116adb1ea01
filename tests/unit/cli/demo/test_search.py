"""The search for plaintext, which other tests rely on, finds what is there."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from envelope_codec.cli.demo.search import Needles

SECRET = "marigold>>>??"  # with characters that the two alphabets of base64 spell differently


@pytest.mark.parametrize("encode", [bytes, base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_finds_text_and_base64_at_any_place(encode: type[bytes], before: int, after: int) -> None:
    needles = Needles([SECRET, "another secret"])
    haystack = b"\xff" * before + SECRET.encode() + b"\xff" * after
    assert needles.find_in(b"..." + encode(haystack) + b"...") == {SECRET}


def test_does_not_find_what_is_not_there() -> None:
    assert Needles([SECRET]).find_in(b"marigold" * 100 + base64.b64encode(b"marigold" * 100)) == set()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a b?.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE "odd "" name" (key TEXT, value BLOB, number INTEGER)')
        connection.commit()
    return path


def change(database: Path, statement: str, *values: object, pragma: str = "secure_delete = OFF") -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA {pragma}")
        connection.execute(statement, values)
        connection.commit()


@pytest.mark.parametrize("value", [SECRET, SECRET.encode(), b"\0" + SECRET.encode() + b"\0"])
def test_finds_rows_of_a_database(value: object, database: Path) -> None:
    needles = Needles([SECRET])
    assert needles.find_in_database(database) == set()
    change(database, 'INSERT INTO "odd "" name" VALUES (?, ?, 7)', "key", value)
    assert needles.find_in_database(database) == {SECRET}


def test_finds_a_row_that_has_been_deleted(database: Path) -> None:
    change(database, 'INSERT INTO "odd "" name" VALUES (?, ?, 7)', "key", SECRET)
    change(database, 'DELETE FROM "odd "" name"')
    assert Needles([SECRET]).find_in_database(database) == {SECRET}


def test_finds_a_text_that_is_split_between_two_pages(database: Path) -> None:
    secret = "".join(f"{number:04}" for number in range(3_000))
    change(database, 'INSERT INTO "odd "" name" VALUES (?, ?, 7)', "key", secret)
    assert secret.encode() not in database.read_bytes()
    assert Needles([secret]).find_in_database(database) == {secret}


def test_finds_what_only_the_journal_has(database: Path) -> None:
    change(database, 'INSERT INTO "odd "" name" VALUES (?, ?, 7)', "key", SECRET)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA journal_mode = PERSIST")
        connection.execute('DELETE FROM "odd "" name"')
        connection.commit()
        assert SECRET.encode() not in database.read_bytes()
        assert Needles([SECRET]).find_in_database(database) == {SECRET}


def test_finds_what_only_the_write_ahead_log_has(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute('INSERT INTO "odd "" name" VALUES (?, ?, 7)', ("key", SECRET))
        connection.commit()
        connection.execute('DELETE FROM "odd "" name"')
        connection.commit()
        assert SECRET.encode() not in database.read_bytes()
        assert Needles([SECRET]).find_in_database(database) == {SECRET}
