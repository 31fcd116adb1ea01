"""The keystore that a configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.keystores import keystore_hint, keystore_url, open_keystore
from envelope_codec.errors import ConfigurationError, StoreRefused, StoreUnavailable
from envelope_codec.keystore import KeystoreUrl
from envelope_codec.testing import FakeKeystore, FakeKms


def test_a_keystore_is_named_by_its_url() -> None:
    assert keystore_url(EnvelopeConfig(key=FakeKms(), keystore="file:///k")).url == "file:///k"
    for config in (EnvelopeConfig(key=FakeKms()), EnvelopeConfig(key=FakeKms(), keystore=FakeKeystore())):
        with pytest.raises(ConfigurationError, match="keystore: not set"):
            keystore_url(config)


async def test_it_is_open_for_a_while(tmp_path: Path) -> None:
    async with open_keystore(KeystoreUrl(f"file://{tmp_path}")) as keystore:
        await keystore.check()
        assert await keystore.get(bytes(32)) is None


def test_hints_are_a_keystores() -> None:
    missing = StoreRefused("the table does not exist, or its schema")
    assert "envelope-codec keystore ddl" in keystore_hint(KeystoreUrl("sqlite:////k"), missing)
    refused = StoreRefused("permission on the table or the database is missing")
    assert "SELECT, INSERT and UPDATE" in keystore_hint(KeystoreUrl("postgresql://h/k"), refused)
    assert keystore_hint(KeystoreUrl("dynamodb://table"), StoreUnavailable("no answer")).startswith(
        "check that it runs"
    )
    assert keystore_hint(KeystoreUrl("file:///k"), ConfigurationError("wrong")) == ""
