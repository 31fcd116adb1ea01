"""The bounds of the wire format, one by one: what is at a bound is read, what is beyond it is refused.

The vectors test what a reader does with whole envelopes. Here is what they can't show: both sides of each number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from envelope_codec.envelope import (
    ENCODING,
    NAME_DATA_KEY,
    NAME_ENCODING,
    NAME_KEY_ID,
    NAME_RECORD,
    Envelope,
    Purpose,
    Recipient,
    Record,
    build_record,
    commit,
    open_envelope,
    parse,
    parse_head,
    parse_record,
    record_head,
    seal,
    unlock,
    unlock_head,
)
from envelope_codec.errors import InvalidCiphertext, MalformedEnvelope

SECRET = bytes(range(32))
NAMES = {"temporal-namespace": "default"}


def made(
    recipients: Iterable[Recipient] = (Recipient("key", "1", b"ciphertext"),),
    context: Mapping[str, str] = NAMES,
    purpose: Purpose = Purpose.WRAPPING_KEY,
) -> tuple[Record, bytes]:
    """A record and its key."""
    head = record_head(purpose, 1_700_000_000, context)
    key, record_id = commit(SECRET, head)
    return build_record(head, record_id, recipients), key


def sealed(purpose: Purpose = Purpose.WRAPPING_KEY, inner: bytes = b"inner") -> tuple[dict[str, bytes], bytes, bytes]:
    """Metadata and data of an envelope, and its key."""
    record, key = made(purpose=purpose)
    wrapped, data = seal(inner, record, key)
    metadata = dict(record.metadata)
    if wrapped is not None:
        metadata[NAME_DATA_KEY] = wrapped
    return metadata, data, key


def opened(metadata: Mapping[str, bytes], data: bytes, key: bytes) -> bytes:
    envelope = parse(metadata, data)
    assert envelope is not None
    return open_envelope(envelope, key)


# --- bounds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipient", "reason"),
    [
        (Recipient("k" * 512, "", b"c"), None),
        (Recipient("k" * 513, "", b"c"), "key id"),
        (Recipient("k", "v" * 256, b"c"), None),
        (Recipient("k", "v" * 257, b"c"), "key version"),
        (Recipient("k", "", b"c" * 4_096), None),
        (Recipient("k", "", b"c" * 4_097), "ciphertext"),
        (Recipient("k", "", b""), "ciphertext"),
        (Recipient("", "", b"c"), "key id"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_bounds_of_a_recipient(recipient: Recipient, reason: str | None, first: bool) -> None:
    recipients = [recipient] if first else [Recipient("first", "", b"c"), recipient]
    if reason is None:
        assert made(recipients)[0].recipients == tuple(recipients)
        return
    with pytest.raises(MalformedEnvelope, match=reason):
        made(recipients)


def test_bounds_of_a_record() -> None:
    eight = [Recipient(f"key-{number}", "", b"c") for number in range(9)]
    assert len(made(eight[:8])[0].recipients) == 8
    with pytest.raises(MalformedEnvelope, match="too many"):
        made(eight)
    with pytest.raises(MalformedEnvelope, match="one key id"):
        made([eight[0], eight[0]])
    long = [Recipient(f"key-{number}", "", b"c" * 4_096) for number in range(4)]
    room = 16_384 - len(made(long[:3])[0].wire) - len("key-3") - 6
    long[3] = Recipient("key-3", "", b"c" * room)
    record = made(long)[0]
    assert len(record.wire) == 16_384
    long[3] = Recipient("key-3", "", b"c" * (room + 1))
    with pytest.raises(MalformedEnvelope, match="the record is too long"):
        made(long)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"n" * 128: "v"}, None),
        ({"n" * 129: "v"}, "empty or too long"),
        ({"n": "v" * 4_000}, None),
        ({"n": "v" * 4_001}, "empty or too long"),
        ({"n": ""}, "empty or too long"),
        ({"": "v"}, "empty or too long"),
        ({"n": "v" * 4_000, "o": "v" * (2_000 - 2 - 25)}, None),
        ({"n": "v" * 4_000, "o": "v" * (2_000 - 2 - 24)}, "the context is too long"),
        ({f"n{number}": "v" for number in range(252)}, None),
        ({f"n{number}": "v" for number in range(253)}, "the context is too long"),
        ({"aws:n": "v"}, "reserved"),
        ({"AWS:n": "v"}, "reserved"),
        ({"Envelope-Codec:n": "v"}, "reserved"),
        ({"n": "v", "N": "v"}, "reserved, or differs"),
        ({"\ud800": "v"}, "not valid Unicode"),
        ({"n": "\ud800"}, "not valid Unicode"),
    ],
)
def test_bounds_of_the_context(more: Mapping[str, str], reason: str | None) -> None:
    context = {**NAMES, **more}
    if reason is None:
        assert dict(parse_head(record_head(Purpose.WRAPPING_KEY, 1, context)).context) == context
        return
    with pytest.raises(MalformedEnvelope, match=reason):
        record_head(Purpose.WRAPPING_KEY, 1, context)


def test_a_context_needs_the_namespace() -> None:
    with pytest.raises(MalformedEnvelope, match="lacks the Temporal namespace"):
        record_head(Purpose.WRAPPING_KEY, 1, {"other": "v"})


def test_names_of_the_context_ascend_on_the_wire() -> None:
    head = record_head(Purpose.WRAPPING_KEY, 1, {"b": "2", "a": "1", **NAMES})
    one, two = b"\0\x01a\0\x011", b"\0\x01b\0\x012"
    assert one + two in head
    for changed in (head.replace(one + two, two + one), head.replace(one + two, one + one)):
        with pytest.raises(MalformedEnvelope, match="strictly ascending"):
            parse_head(changed)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_head_is_taken_apart(purpose: Purpose) -> None:
    head = record_head(purpose, 2**64 - 1, {"tenant": "t", **NAMES})
    assert parse_head(head) == (purpose, 2**64 - 1, (("temporal-namespace", "default"), ("tenant", "t")))
    with pytest.raises(MalformedEnvelope, match="the record's head has bytes after its end"):
        parse_head(head + b"\0")
    for length in range(len(head)):
        with pytest.raises(MalformedEnvelope):
            parse_head(head[:length])
    for start, reason in ((b"\x02", "version"), (b"\x01\x00", "purpose"), (b"\x01\x04", "purpose")):
        with pytest.raises(MalformedEnvelope, match=reason):
            parse_head(start + head[len(start) :])


def test_a_record_that_is_cut_short_or_goes_on_is_refused() -> None:
    wire = made()[0].wire
    with pytest.raises(MalformedEnvelope, match="bytes after its end"):
        parse_record(wire + b"\0", b"key")
    for length in range(len(wire)):
        with pytest.raises(MalformedEnvelope):
            parse_record(wire[:length], b"key")


# --- records ------------------------------------------------------------------------------------------------------


def test_what_a_record_says() -> None:
    record, _ = made([Recipient("key", "1", b"c"), Recipient("other", "", b"d")], {"tenant": "t", **NAMES})
    assert record.namespace == "default"
    assert record.key_id_bytes == b"key"
    assert record.metadata == {NAME_ENCODING: ENCODING, NAME_KEY_ID: b"key", NAME_RECORD: record.wire}
    assert record.wire == record.head + record.id + b"\x02" + b"\0\0\0\x011\0\x01c" + b"\0\x05other\0\0\0\x01d"
    assert record.kms_context == {
        "tenant": "t",
        "temporal-namespace": "default",
        "envelope-codec:purpose": "wrapping-key",
        "envelope-codec:id": record.id.hex(),
    }
    assert record.allowed is None
    assert "allowed" not in repr(record)


def test_a_record_commits_to_its_secret() -> None:
    record, key = made()
    assert unlock(record, SECRET) == unlock_head(record.head, record.id, SECRET) == key
    assert len(key) == 32
    with pytest.raises(InvalidCiphertext, match="another secret") as caught:
        unlock(record, bytes(32))
    assert caught.value.operation == "unwrap"
    for wrong in (b"", SECRET[:31], SECRET + b"\0"):
        with pytest.raises(InvalidCiphertext, match="wrong length"):
            unlock(record, wrong)


# --- envelopes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("length", [0, 1, 16_384 - 60 - 1, 16_384 - 60, 16_384 - 60 + 1, 100_000])
def test_what_is_sealed_opens(purpose: Purpose, length: int) -> None:
    inner = os.urandom(length)
    metadata, data, key = sealed(purpose, inner)
    assert (NAME_DATA_KEY in metadata) == (purpose is not Purpose.DATA_KEY)
    assert len(data) == 60 + length
    assert opened(metadata, data, key) == inner


def test_two_payloads_share_neither_data_key_nor_nonce_nor_commitment() -> None:
    record, key = made()
    (one, data), (other, more) = seal(b"inner", record, key), seal(b"inner", record, key)
    assert one != other
    assert data[:32] != more[:32]
    assert data[32:44] != more[32:44]


@pytest.mark.parametrize("purpose", [Purpose.WRAPPING_KEY, Purpose.DATA_KEY])
@pytest.mark.parametrize("place", ["commitment", "nonce", "sealed", "tag"])
def test_a_changed_payload_is_refused(purpose: Purpose, place: str) -> None:
    metadata, data, key = sealed(purpose)
    at = {"commitment": 0, "nonce": 32, "sealed": 44, "tag": len(data) - 1}[place]
    changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
    with pytest.raises(InvalidCiphertext, match="the payload is not what was sealed") as caught:
        opened(metadata, changed, key)
    assert caught.value.operation == "open"


def test_a_data_key_that_does_not_unwrap_is_refused() -> None:
    metadata, data, key = sealed()
    with pytest.raises(InvalidCiphertext, match="the data key does not unwrap"):
        opened(metadata, data, bytes(32))
    other = aes_key_wrap(key, bytes(32))
    with pytest.raises(InvalidCiphertext, match="the payload is not what was sealed"):
        opened({**metadata, NAME_DATA_KEY: other}, data, key)


def test_the_form_of_an_envelope_is_checked() -> None:
    metadata, data, _ = sealed()
    envelope = parse(metadata, data[:60])
    assert isinstance(envelope, Envelope)
    assert (envelope.wrapped_data_key, envelope.data) == (metadata[NAME_DATA_KEY], data[:60])
    assert parse({**metadata, "mine": b"x"}, data) is not None, "other names are ignored"
    assert parse({NAME_ENCODING: b"json/plain"}, b"1") is None
    assert parse({}, b"") is None
    assert parse({NAME_KEY_ID: b"key"}, data) is None
    without = {name: {n: v for n, v in metadata.items() if n != name} for name in metadata}
    wrong = [
        (metadata, data[:59], "too short"),
        ({**metadata, "encryption-x": b""}, data, "unknown encryption- entry"),
        ({**without[NAME_DATA_KEY], "encryption-x": b""}, data, "unknown encryption- entry"),
        ({**metadata, NAME_DATA_KEY: metadata[NAME_DATA_KEY][:39]}, data, "the wrong length"),
        ({**metadata, NAME_DATA_KEY: metadata[NAME_DATA_KEY] + b"\0"}, data, "the wrong length"),
        ({**metadata, NAME_ENCODING: b"binary/envelope-v2"}, data, "a version"),
        ({NAME_ENCODING: b"binary/envelope-"}, data, "a version"),
        ({**metadata, NAME_ENCODING: b"json/plain"}, data, "not an envelope's"),
        (without[NAME_ENCODING], data, "not an envelope's"),
        (without[NAME_KEY_ID], data, "lacks its wrapped key or its key id"),
        (without[NAME_RECORD], data, "lacks its wrapped key or its key id"),
        (without[NAME_DATA_KEY], data, "or lacks one"),
    ]
    for changed, content, reason in wrong:
        with pytest.raises(MalformedEnvelope, match=reason):
            parse(changed, content)
    direct, data, _ = sealed(Purpose.DATA_KEY)
    with pytest.raises(MalformedEnvelope, match="a data key where its record allows none"):
        parse({**direct, NAME_DATA_KEY: metadata[NAME_DATA_KEY]}, data)
