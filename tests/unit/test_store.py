"""A store's URL: its name, and what it never shows. How a store is asked for a payload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envelope_codec import (
    EnvelopeConfig,
)
from envelope_codec.storage.files import FileStore
from envelope_codec.store import PayloadStore, TooLarge, get_within, parse_store_url
from envelope_codec.testing import FakeKms


def test_a_stores_name_may_be_chosen() -> None:
    assert parse_store_url("file:///a/b") == ("envelope-file", "file:///a/b")
    assert parse_store_url("file:///a/b?name=cold") == ("cold", "file:///a/b")
    assert parse_store_url("sqlite:////a/b.db?name=cold&timeout=1") == ("cold", "sqlite:////a/b.db?timeout=1")
    assert parse_store_url("sqlite:////a/b.db?name=cold") == ("cold", "sqlite:////a/b.db")
    url = "postgresql+psycopg://u:p@h:5/db?sslmode=require&name=main&table=t"
    assert parse_store_url(url) == ("main", "postgresql+psycopg://u:p@h:5/db?sslmode=require&table=t")
    assert parse_store_url("s3://bucket/prefix").name == "envelope-s3"


def test_a_configuration_shows_no_password() -> None:
    assert "password" not in repr(parse_store_url("redis://:password@host"))
    config = EnvelopeConfig(
        key=FakeKms(), storage="postgresql://u:password@h/db", former_storage=["redis://:password@h"]
    )
    assert "password" not in repr(config)


class _Masked(FileStore):
    """What a subclass may do to a payload on its way, knowing `get` and `put` alone."""

    async def put(self, id: str, data: bytes) -> None:
        await super().put(id, data[::-1])

    async def get(self, id: str) -> bytes:
        return (await super().get(id))[::-1]


class _MaskedWithin(_Masked):
    async def get_within(self, id: str, limit: int) -> bytes:
        return b"within"


class _Delegate:
    """A store around another one, which it asks for all that it does not know itself."""

    def __init__(self, store: PayloadStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _Masking(_Delegate):
    async def get(self, id: str) -> bytes:
        return b"masked"


async def test_a_subclass_that_replaces_get_is_asked_with_it(tmp_path: Path) -> None:
    id = "0" * 32
    store = _Masked(f"file://{tmp_path}")
    await store.put(id, b"some bytes")
    assert await get_within(store, id, 10) == b"some bytes"
    with pytest.raises(TooLarge):
        await get_within(store, id, 9)
    assert await get_within(_MaskedWithin(f"file://{tmp_path}"), id, 10) == b"within"
    plain: Any = _Delegate(FileStore(f"file://{tmp_path}"))
    assert await get_within(plain, id, 10) == b"setyb emos"
    masking: Any = _Masking(FileStore(f"file://{tmp_path}"))
    assert await get_within(masking, id, 10) == b"masked"
