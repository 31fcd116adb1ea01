"""Envelopes as payloads: made, read, and told from what only claims to be one."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig, InvalidCiphertext
from envelope_codec.envelope import NAME_DATA_KEY, open_envelope, parse
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.inner_payload import parse_payload
from envelope_codec.temporal.sealed_payload import finish_inner_payload, is_sealed, seal_payload
from envelope_codec.temporal.system_payloads import SYSTEM_MARK
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')
REFERENCE = Payload(
    metadata={"encoding": b"json/protobuf", "messageType": b"temporal.api.sdk.v1.ExternalStorageReference"},
    data=b'{"driverName":"s3"}',
)


async def sealed_by(keyring: Keyring, payload: Payload) -> Payload:
    return seal_payload(payload, await keyring.sealing_key("default"))


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
async def test_what_is_sealed_comes_back(wrapping: Any) -> None:
    keyring = EnvelopeConfig(key=FakeKms(), wrapping=wrapping).keyring()
    first, second = [await sealed_by(keyring, PLAIN) for _ in range(2)]
    assert first != second
    assert (NAME_DATA_KEY in first.metadata) is (wrapping == "wrapping-key")
    for sealed in (first, second):
        envelope = parse(sealed.metadata, sealed.data)
        assert envelope is not None
        content = open_envelope(envelope, await keyring.opening_key(envelope.record))
        assert finish_inner_payload(parse_payload(content)) == PLAIN
        assert is_sealed(sealed)
    keyring.close()


def test_metadata_that_readers_must_not_believe_is_dropped() -> None:
    given = Payload(metadata={**PLAIN.metadata, "encryption-padding": b"xxxx", SYSTEM_MARK: b"true"}, data=PLAIN.data)
    assert finish_inner_payload(given) == PLAIN


def test_what_was_sealed_and_is_no_payload_is_refused() -> None:
    with pytest.raises(InvalidCiphertext, match="not a payload"):
        parse_payload(b"\xff\xff")


@pytest.mark.parametrize(
    "payload",
    [
        PLAIN,
        Payload(metadata={"encoding": b"binary/envelope-v1"}, data=b"in clear"),
        Payload(metadata={"encoding": b"binary/envelope-v9"}, data=b"in clear"),
        Payload(metadata=REFERENCE.metadata, data=b"in clear"),
    ],
)
def test_what_only_claims_to_be_sealed_is_not(payload: Payload) -> None:
    assert not is_sealed(payload)


def test_a_reference_is_sealed_where_there_is_a_store() -> None:
    assert is_sealed(REFERENCE)
    assert not is_sealed(REFERENCE, stored=False)
