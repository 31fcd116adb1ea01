"""A store's URL: its name, and what it never shows."""

from __future__ import annotations

from envelope_codec import (
    EnvelopeConfig,
)
from envelope_codec.store import parse_store_url
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
