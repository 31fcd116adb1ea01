"""A sealed claim on a stored payload, and the references that the SDK writes around it.

- What is no claim is refused with `MalformedEnvelope`, or with another `EnvelopeError` where it can't be opened.
- A claim that opens is one that a driver can have made. Sealed again, it is the same claim.
- Whatever is opened costs the KMS a bounded number of calls.
"""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache

from google.protobuf.json_format import MessageToJson
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError, MalformedEnvelope
from envelope_codec.storage.claim import Claim, parse_payload
from envelope_codec.storage.reference import parse_reference, parse_reference_document
from envelope_codec.temporal.codec import EnvelopeCodec
from tests.fuzz.built_envelope import build_envelope, envelope_form
from tests.fuzz.event_loop import run
from tests.fuzz.known_key import MOST_CALLS, KnownKms
from tests.fuzz.sections import Sections, join
from tests.fuzz.target import Target
from tests.vectors.vector_files import load

ENVELOPE, CONTENT, REFERENCE, DOCUMENT = 1, 2, 4, 8
ENCODING = b"json/envelope-codec-claim"
GOOD = Claim("0" * 32, "a" * 64, 1)


@lru_cache(maxsize=1)
def _kms() -> KnownKms:
    return KnownKms()


@lru_cache(maxsize=1)
def _codec() -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=_kms(), lease="365d", refusal_ttl=0, cache_size=64, timeout=5.0))


def check(data: bytes) -> None:
    given = Sections(data)
    if given.flags & REFERENCE:
        _check_reference(Payload(metadata={"encoding": given[1], "messageType": given[2]}, data=given[0]))
    elif given.flags & DOCUMENT:
        _check_document(given[0])
    elif given.flags & CONTENT:
        _check_claim(run(_seal(given[0], given[1] or ENCODING)))
    elif given.flags & ENVELOPE:
        built = build_envelope(given[0])
        payload = Payload(metadata=built.metadata, data=built.data)
        _check_claim({"envelope": base64.b64encode(payload.SerializeToString()).decode()})
    else:
        _check_claim({_text(given[1]) or "envelope": _text(given[0])})


async def _seal(content: bytes, encoding: bytes) -> dict[str, str]:
    [payload] = await _codec().encode([Payload(metadata={"encoding": encoding}, data=content)])
    return {"envelope": base64.b64encode(payload.SerializeToString()).decode()}


def _check_claim(data: dict[str, str]) -> None:
    before = _kms().calls
    try:
        claim = run(Claim.open(data, _codec()))
    except EnvelopeError:
        claim = None
    assert _kms().calls - before <= MOST_CALLS
    if claim is None:
        return
    assert isinstance(parse_payload(data), Payload)
    assert re.fullmatch("[0-9a-f]{32}", claim.id)
    assert re.fullmatch("[0-9a-f]{64}", claim.digest)
    assert type(claim.size) is int
    assert 0 <= claim.size < 2**31
    assert run(_open_again(claim)) == claim


async def _open_again(claim: Claim) -> Claim:
    return await Claim.open(await claim.seal(_codec()), _codec())


def _check_reference(payload: Payload) -> None:
    try:
        reference = parse_reference(payload)
    except MalformedEnvelope:
        return
    assert isinstance(reference.driver_name, str)
    assert all(isinstance(text, str) for entry in reference.claim_data.items() for text in entry)
    message = ExternalStorageReference(driver_name=reference.driver_name, claim_data=reference.claim_data)
    if message.ByteSize():
        again = Payload(metadata={"encoding": b"json/protobuf"}, data=MessageToJson(message).encode())
        assert len(again.data) > 2**17 or len(reference.claim_data) > 50 or parse_reference(again) == reference


def _check_document(text: bytes) -> None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    try:
        parse_reference_document(document)
    except MalformedEnvelope:
        return


def _text(section: bytes) -> str:
    return section.decode("utf-8", "replace")


def seeds() -> dict[str, bytes]:
    good = {"id": GOOD.id, "sha256": GOOD.digest, "size": GOOD.size}
    new = b'{"driver_name": "envelope-s3", "claim_data": {"envelope": "AAAA"}}'
    old = b'{"driver_name": "envelope-s3", "driver_claim": {"claim_data": {"envelope": "AAAA"}}}'
    found = {
        "content": join(CONTENT, json.dumps(good).encode()),
        "content-more": join(CONTENT, json.dumps({**good, "more": [1, {}]}).encode()),
        "content-deep": join(CONTENT, b"[" * 2_000),
        "reference": join(REFERENCE, new, b"json/protobuf", b"temporal.api.sdk.v1.ExternalStorageReference"),
        "reference-earlier": join(REFERENCE, old, b"json/external-storage-reference"),
        "document": join(DOCUMENT, new),
        "text": join(0, base64.b64encode(b"\x12\x01a"), b"envelope"),
        "other": join(0, b"key", b"bucket"),
    }
    for vector in load(lambda vector: len(vector.data) < 1_000):
        if sum(map(len, vector.metadata.values())) < 1_000 and vector.name.startswith(("worked", "direct", "id-")):
            found[f"envelope-{vector.name}"] = join(ENVELOPE, envelope_form(dict(vector.metadata), vector.data))
    return found


TARGET = Target(
    check,
    seeds,
    (
        b'"id"',
        b'"sha256"',
        b'"size"',
        b"driver_name",
        b"driver_claim",
        b"claim_data",
        b"claimData",
        b"\\ud800",
        ENCODING,
    ),
)
