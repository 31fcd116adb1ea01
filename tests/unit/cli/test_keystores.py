"""The keystore that a configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.keystores import explain, keystore_url, open_keystore
from envelope_codec.errors import ConfigurationError, StoreRefused
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


def test_an_error_is_told_with_what_to_do() -> None:
    told = explain(KeystoreUrl("sqlite:////k"), StoreRefused("the table does not exist, or its schema"))
    assert told.startswith("the keystore: the table does not exist, or its schema")
    assert "To do: make the table: envelope-codec keystore ddl" in told
