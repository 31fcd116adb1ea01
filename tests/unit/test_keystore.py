"""A keystore's URL, its lookup, and how a keystore is tried out."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreRefused
from envelope_codec.keystore import Kept, Keystore, KeystoreUrl, RowConflict, parse_keystore_url, try_out


class MemoryKeystore:
    """A keystore that may forget to compare."""

    def __init__(self, *, compares: bool = True) -> None:
        self.kept: dict[bytes, Kept] = {}
        self.compares = compares

    async def get(self, key: bytes) -> Kept | None:
        return self.kept.get(key)

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        kept = self.kept.get(key)
        if self.compares and (kept.revision if kept else None) != revision:
            raise RowConflict("of another revision")
        self.kept[key] = Kept(key, data, str(int(kept.revision) + 1 if kept else 0))
        return self.kept[key].revision

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        for key in sorted(self.kept):
            yield self.kept[key]

    async def check(self) -> None:
        await try_out(self)

    async def close(self) -> None:
        pass


async def test_a_datastore_that_ignores_conditions_is_refused() -> None:
    good: Keystore = MemoryKeystore()
    await good.check()
    await good.check()
    with pytest.raises(StoreRefused, match="without comparing") as caught:
        await MemoryKeystore(compares=False).check()
    assert not isinstance(caught.value, RowConflict)


def test_a_conflict_is_no_outage_and_travels_between_processes() -> None:
    error = RowConflict("of another revision", operation="put")
    assert isinstance(error, EnvelopeError)
    assert not error.retryable
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.operation) == (RowConflict, str(error), "put")


def test_a_url_shows_no_password_and_keeps_its_options() -> None:
    url = parse_keystore_url("postgresql+psycopg://user:sesame@host/db?table=rows")
    assert url == KeystoreUrl("postgresql+psycopg://user:sesame@host/db?table=rows")
    assert url.scheme == "postgresql"
    assert "sesame" not in repr(url)


@pytest.mark.parametrize(
    "url", ["", "a/path", " file:///a", "file:///a\n", "redis://:sesame@[host", "redis://h?sesame"]
)
def test_what_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^keystore: ") as caught:
        parse_keystore_url(url)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres://h/db", r"no keystore for URL scheme 'postgres' .*did you mean postgresql://"),
        ("file://host/a", "keystore: a directory of files is file:///absolute/path"),
        ("file:///a?name=b", "keystore: a directory of files"),
        ("sqlite://", "keystore: SQLite in memory keeps nothing"),
        ("sqlite:////a.db?table=a;b", "keystore: table= must be"),
        ("redis://:sesame@h/word", "keystore: redis-py can't read the URL"),
        ("mongodb://h/db?collection=", "keystore: PyMongo can't read the URL"),
        ("s3://user:sesame@bucket", "keystore: a bucket is s3://BUCKET/PREFIX"),
        ("s3://bucket?name=b", "keystore: s3:// has no option 'name'"),
        ("dynamodb://user:sesame@table", "keystore: a table is dynamodb://TABLE"),
        ("dynamodb://table/more", "keystore: a table is dynamodb://TABLE"),
        ("dynamodb://table?addressing=path", "keystore: dynamodb:// has no option 'addressing'"),
        ("dynamodb://table?region=r&endpoint=no", "keystore: no client for dynamodb:// can be made"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_of_the_keystore(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        parse_keystore_url(url).open()
    assert "sesame" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("redis", "no_such_client.keystore:Keystore", "envelope_codec.keystores")]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    with pytest.raises(ConfigurationError, match=r"temporal-envelope-codec\[storage-redis\]"):
        parse_keystore_url("redis://host").open()


@pytest.mark.parametrize("scheme", ["postgresql", "sqlite", "mariadb"])
def test_a_sql_keystore_says_how_its_table_is_made(scheme: str, tmp_path: Path) -> None:
    place = f"/{tmp_path}/a.db" if scheme == "sqlite" else "host/db"
    keystore: Any = parse_keystore_url(f"{scheme}://{place}?table=s.rows").open()
    assert "CREATE TABLE s.`rows`" in keystore.ddl or "CREATE TABLE s.rows" in keystore.ddl
    assert "PRIMARY KEY (row_key)" in keystore.ddl
    if scheme == "mariadb":
        assert "row_key VARBINARY(32)" in keystore.ddl
        assert "MEDIUMBLOB" in keystore.ddl
