"""A whole envelope, opened with keys that are known, so that mutation reaches what lies behind the commitments.

- `parse` and `open_envelope` return, or raise `MalformedEnvelope` or `InvalidCiphertext`, and nothing else.
- The library and the second reader of `tests.support` read the same payload, or both refuse.
- What was sealed comes out as it was, or not at all: whatever was changed in the parts that are bound.
- An input in which nothing was sealed with a known key does not open.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.temporal.inner_payload import COMPRESSED, InnerFormat
from envelope_codec.temporal.sealed_payload import strip
from tests.fuzz.built_envelope import build_envelope, envelope_form, sealed_form
from tests.fuzz.built_record import record_form
from tests.fuzz.target import Target
from tests.fuzz.two_readers import read, read_second
from tests.vectors.vector_files import load

MAX_PAYLOAD = 2**16
CONTENT = Payload(metadata={"encoding": b"json/plain"}, data=b'"Ada"').SerializeToString()
_INNER = InnerFormat(max_payload=MAX_PAYLOAD)


def check(data: bytes) -> None:
    built = build_envelope(data)
    found = read(built.metadata, built.data, _INNER)
    assert found == read_second(built.metadata, built.data, MAX_PAYLOAD), "the second reader reads something else"
    if found is None:
        return
    assert built.content is not None, "nothing was sealed"
    payload = _parse(built.content)
    if payload.metadata.get("encoding") != COMPRESSED:
        strip(payload.metadata)
        assert found == payload, "something else came out than was sealed"


def _parse(content: bytes) -> Payload:
    try:
        return Payload.FromString(content)
    except DecodeError:
        raise AssertionError("what was sealed is no payload, and a payload came out") from None


def seeds() -> dict[str, bytes]:
    found = {}
    for vector in load(lambda vector: len(vector.data) < 2_000):
        if sum(map(len, vector.metadata.values())) > 2_000:
            continue
        form = envelope_form(dict(vector.metadata), vector.data)
        if vector.expect != "ok" or "record" in vector.name or "recipient" in vector.name:
            found[vector.name] = form
        if vector.expect == "ok":
            wire, key_id = vector.metadata["encryption-wrapped-key"], vector.metadata["encryption-key-id"]
            record = record_form(wire, key_id, right_id=True)
            found[f"sealed-{vector.name}"] = sealed_form(record, CONTENT)
            found[f"tampered-{vector.name}"] = sealed_form(record, CONTENT, b"\x00\x09\x01")
            last = (len(wire) - 1).to_bytes(2, "big")  # byte of a ciphertext, to which the id does not commit
            found[f"swapped-{vector.name}"] = sealed_form(record, CONTENT, last + b"\x01")
    return found


TARGET = Target(
    check,
    seeds,
    (b"binary/envelope-v1", b"binary/envelope-v2", b"encryption-padding", b"encryption-", b"temporal-namespace"),
)
