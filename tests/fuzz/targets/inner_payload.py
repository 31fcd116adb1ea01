"""The content of an envelope that authenticates: a payload, compressed or not, by a writer that may be hostile.

- It is read, or refused with `InvalidCiphertext`; the second reader of `tests.support` reads the same.
- Compressed content is counted before it is decompressed, and has no more bytes than the limits of SPEC allow.
- What the library writes, it reads.
"""

from __future__ import annotations

from contextlib import suppress

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import (
    Purpose,
    Recipient,
    _seal_with,
    commit,
    open_envelope,
    parse,
    record_head,
    unlock,
)
from envelope_codec.envelope import build_record as write_record
from envelope_codec.errors import EnvelopeError, InvalidCiphertext
from envelope_codec.temporal.inner_payload import COMPRESSED, PADDING, InnerFormat
from envelope_codec.temporal.sealed_payload import finish_inner_payload, strip
from envelope_codec.temporal.zstd_frame import allowed_size, compress
from tests.fuzz.known_key import KEY_ID, SECRET
from tests.fuzz.sections import Sections, join
from tests.fuzz.target import Target
from tests.fuzz.two_readers import read, read_second
from tests.vectors.vector_files import Vector, load

COMPRESSED_HERE, RIGHT_SIZE, RIGHT_MAGIC, WRITTEN = 1, 2, 4, 8
PLAIN = 16
MAX_PAYLOAD = 2**18

_HEAD = record_head(Purpose.WRAPPING_KEY, 0, {"temporal-namespace": "fuzz"})
_KEY, _ID = commit(SECRET, _HEAD)
_RECORD = write_record(_HEAD, _ID, [Recipient(KEY_ID, "1", b"ciphertext")])


def check(data: bytes) -> None:
    given = Sections(data)
    if given.flags & WRITTEN:
        _check_written(given)
        return
    content = _content(given)
    taken: list[int] = []
    inner = InnerFormat(max_payload=MAX_PAYLOAD, take=taken.append)
    wrapped, sealed = _seal_with(content, _RECORD, SECRET, _KEY, bytes(12))
    metadata = {**_RECORD.metadata, "encryption-data-key": wrapped or b""}
    found = read(metadata, sealed, inner)
    assert found == read_second(metadata, sealed, MAX_PAYLOAD), "the second reader reads something else"
    if found is not None:
        size = found.ByteSize()
        assert size <= len(content) or size <= sum(taken), "more came out than was counted before"
        assert size <= max(len(content), min(MAX_PAYLOAD, allowed_size(len(content))))


def _content(given: Sections) -> bytes:
    """Return the bytes of an inner payload.

    Sections: what is compressed, or is it already; the size before it; changes of the frame; then metadata.
    """
    if given.flags & PLAIN:
        return given[0]
    piece, size = given[0], given[1][:4].rjust(4, b"\0")
    if given.flags & COMPRESSED_HERE:
        if not piece:
            return b""
        written = b"".join(compress(piece))
        size, frame = written[:4], bytearray(written[4:])
    else:
        frame = bytearray(piece)
        if given.flags & RIGHT_MAGIC:
            frame[:4] = b"\x28\xb5\x2f\xfd"
        if given.flags & RIGHT_SIZE:  # of a frame with a single segment and a size of one byte
            frame[4:5] = b"\x20"
            size = bytes((0, 0, 0, frame[5] if len(frame) > 5 else 0))
    changes = given[2]
    for at in range(0, len(changes) - 1, 2):
        if frame:
            frame[changes[at] % len(frame)] ^= changes[at + 1]
    payload = Payload(metadata={"encoding": COMPRESSED}, data=size + bytes(frame))
    return _with_metadata(payload, given.after(3)).SerializeToString(deterministic=True)


def _check_written(given: Sections) -> None:
    """What is written is read. Sections: content, three that do not count, then metadata."""
    payload = _with_metadata(Payload(data=given[0] * 8), given.after(3))
    expected = Payload()
    expected.CopyFrom(payload)
    strip(expected.metadata)
    for compresses in (False, True):
        inner = InnerFormat(compresses, 0, MAX_PAYLOAD)
        try:
            content = inner.serialize(payload)
        except EnvelopeError:
            assert payload.metadata.get("encoding") == COMPRESSED
            continue
        assert finish_inner_payload(inner.parse(content), inner) == expected
        with suppress(InvalidCiphertext):
            InnerFormat(max_payload=16).unpack(inner.parse(content))


def _with_metadata(payload: Payload, more: list[bytes]) -> Payload:
    for name, value in zip(more[::2], more[1::2], strict=False):
        payload.metadata[name.decode("utf-8", "replace")] = value
    return payload


def seeds() -> dict[str, bytes]:
    text = Payload(metadata={"encoding": b"json/plain"}, data=b'{"name": "lamp"}' * 40).SerializeToString()
    found = {
        "compressed-here": join(COMPRESSED_HERE, text, b"", b""),
        "changed": join(COMPRESSED_HERE, text, b"", b"\x04\x01"),
        "written": join(WRITTEN, text, b"", b"", b"encoding", b"json/plain"),
        "written-compressed": join(WRITTEN, text, b"", b"", b"encoding", COMPRESSED),
        "padded": join(COMPRESSED_HERE, text, b"", b"", PADDING.encode(), b"padding"),
        "raw-block": join(
            RIGHT_MAGIC | RIGHT_SIZE,
            b"\0\0\0\0\0\x08" + (8 << 3 | 1).to_bytes(3, "little") + b"\x12\x06content"[:8],
            b"",
            b"",
        ),
        "plain": join(PLAIN, text),
    }
    for vector in load(lambda vector: vector.name.startswith("compressed-") and len(vector.data) < 3_000):
        content = _open(vector)
        found[vector.name] = join(PLAIN, content)
        data = _payload_data(content)
        found[f"frame-{vector.name}"] = join(0, data[4:], data[:4], b"")
    return found


def _open(vector: Vector) -> bytes:
    """Return what is in the envelope of a vector, in which the content alone may be bad."""
    envelope = parse(vector.metadata, vector.data)
    assert envelope is not None
    first = envelope.record.recipients[0]
    secret = vector.unwrap(first.key_id, first.key_version, first.ciphertext, envelope.record.kms_context)
    return open_envelope(envelope, unlock(envelope.record, secret))


def _payload_data(content: bytes) -> bytes:
    try:
        return Payload.FromString(content).data
    except DecodeError:
        return b""


TARGET = Target(check, seeds, (COMPRESSED, PADDING.encode(), b"encoding", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"))
