"""All the way round over a real keystore: sealed, given another master key, and opened without the first."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, KeyNotConfigured
from envelope_codec.envelope import Recipient
from envelope_codec.keystore import Keystore, parse_keystore_url
from envelope_codec.keystore_change import add_verified
from envelope_codec.keystore_row import parse_row
from envelope_codec.keystores.sql import SqlKeystore
from envelope_codec.kms import WrappedSecret
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a text"')


@pytest.fixture(params=["file://{}/rows", "sqlite+aiosqlite:///{}/keystore.db"], ids=["file", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "rows").mkdir(mode=0o700)
    made = str(request.param).format(tmp_path)
    if made.startswith("sqlite"):
        create_table(made)
    return made


def create_table(url: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite+aiosqlite:///")) as database:
        database.executescript(SqlKeystore(url).ddl)
    database.close()


async def add_recipient(keystore: Keystore, old: FakeKms, new: FakeKms) -> None:
    """Wrap each row's secret with ``new`` as well."""
    rows = [kept async for kept in keystore.rows()]
    for kept in rows:
        row = parse_row(kept.key, kept.data)
        (first,) = row.verified
        secret = old.unwrap(WrappedSecret(first.key_id, first.key_version, first.ciphertext), row.kms_context).secret
        again = new.wrap(secret, row.kms_context)
        changed = add_verified(row, Recipient(again.key_id, again.key_version, again.ciphertext))
        await keystore.put(kept.key, changed.serialize(), kept.revision)


async def test_what_was_sealed_under_one_master_key_opens_with_another(url: str) -> None:
    old, new = FakeKms(), FakeKms()
    writer = EnvelopeCodec(EnvelopeConfig(key=old, keystore=url))
    sealed = await writer.encode([PLAIN])
    writer.keyring.close()
    reader = EnvelopeCodec(EnvelopeConfig(key=new, keystore=url, refusal_ttl=0))
    with pytest.raises(KeyNotConfigured):
        await reader.decode(sealed)
    keystore = parse_keystore_url(url).open()
    await add_recipient(keystore, old, new)
    await keystore.close()
    old.denied = True
    assert await reader.decode(sealed) == [PLAIN]
    reader.keyring.close()
    without = EnvelopeCodec(EnvelopeConfig(key=new))
    with pytest.raises(KeyNotConfigured):
        await without.decode(sealed)
    without.keyring.close()


async def test_two_services_with_a_namespace_of_one_name_do_each_other_no_harm_in_one_keystore(url: str) -> None:
    ours, theirs, new = FakeKms(), FakeKms(), FakeKms()
    our, their = (EnvelopeCodec(EnvelopeConfig(key=key, keystore=url)) for key in (ours, theirs))
    sealed, foreign = await our.encode([PLAIN]), await their.encode([PLAIN])
    keystore = parse_keystore_url(url).open()
    assert len({kept.key async for kept in keystore.rows()}) == 2
    assert await our.decode(sealed) == await their.decode(foreign) == [PLAIN]
    for codec, payloads in ((our, foreign), (their, sealed)):
        with pytest.raises(KeyNotConfigured):  # the row is found, and none of its recipients is configured
            await codec.decode(payloads)
        codec.keyring.close()
    async for kept in keystore.rows():
        if parse_row(kept.key, kept.data).verified[0].key_id == ours.key_id:
            before = kept
    both = EnvelopeCodec(EnvelopeConfig(key=new, decrypt_keys=(ours, theirs), keystore=url))
    assert await both.decode([*sealed, *foreign]) == [PLAIN, PLAIN], (
        "a record names no service: docs/keystore.md says so"
    )
    both.keyring.close()
    assert await keystore.get(before.key) == before
    await keystore.close()
