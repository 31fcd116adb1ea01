"""References to external storage: today's spelling and earlier ones, in clear and encoded."""

from __future__ import annotations

import json

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import JSONProtoPayloadConverter

from envelope_codec import MalformedEnvelope
from envelope_codec.storage.reference import (
    MARK,
    Reference,
    is_encoded_reference,
    parse_reference,
    parse_reference_document,
    refers_to_storage,
    restore_sizes,
    strip_mark,
)

FOUND = Reference("cold", {"envelope": "text"})


def today() -> Payload:
    message = ExternalStorageReference(driver_name="cold", claim_data={"envelope": "text"})
    payload = JSONProtoPayloadConverter().to_payload(message)
    assert payload is not None
    payload.external_payloads.add().size_bytes = 7
    return payload


def earlier(document: object) -> Payload:
    metadata = {"encoding": b"json/external-storage-reference"}
    return Payload(metadata=metadata, data=json.dumps(document).encode())


def test_each_spelling_is_read() -> None:
    snake = today()
    snake.data = snake.data.replace(b"claimData", b"claim_data").replace(b"driverName", b"driver_name")
    legacy = earlier({"driver_name": "cold", "driver_claim": {"claim_data": {"envelope": "text"}}})
    for payload in (today(), snake, legacy):
        assert refers_to_storage(payload)
        assert parse_reference(payload) == FOUND
    assert parse_reference_document(json.loads(today().data)) == FOUND
    assert parse_reference_document({**json.loads(today().data), "_protoMessageType": "x"}) == FOUND


CLAIMS = {
    "as large as this library's": {"envelope": "x" * 65_536},
    "of many entries": {f"name-{number}": 'a text with "quotes" and {brackets}' for number in range(30)},
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_large_claims_are_read(claim: dict[str, str]) -> None:
    payload = JSONProtoPayloadConverter().to_payload(ExternalStorageReference(driver_name="cold", claim_data=claim))
    assert payload is not None
    assert parse_reference(payload) == Reference("cold", claim)


@pytest.mark.parametrize("more", ['"a":"",' * 300, '"a":{},' * 300, '"a":[' + "1," * 600 + "1],", " " * 2**17])
def test_what_would_take_long_to_parse_is_no_reference(more: str) -> None:
    for given in (today(), earlier({"driver_name": "cold", "driver_claim": {"claim_data": {"envelope": "text"}}})):
        given.data = b"{" + more.encode() + given.data.lstrip()[1:]
        with pytest.raises(MalformedEnvelope):
            parse_reference(given)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"driver_name": 7, "driver_claim": {"claim_data": {}}},
        {"driver_name": "cold", "driver_claim": {"claim_data": {"a": 7}}},
        {"driver_name": "cold", "driver_claim": {"claim_data": []}},
        {"driver_name": "cold", "driver_claim": None},
    ],
)
def test_what_can_not_be_read_is_an_error(document: object) -> None:
    with pytest.raises(MalformedEnvelope):
        parse_reference(earlier(document))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"[" * 100_000, b"\xff", b'{"claimData": {"a": 7}}'])
def test_todays_spelling_is_read_strictly(data: bytes) -> None:
    payload = today()
    payload.data = data
    with pytest.raises(MalformedEnvelope):
        parse_reference(payload)


@pytest.mark.parametrize("document", [None, 7, [], "x", {"claimData": 7}])
def test_a_document_that_is_no_reference_is_an_error(document: object) -> None:
    with pytest.raises(MalformedEnvelope):
        parse_reference_document(document)


def test_the_mark_of_an_encoded_reference_comes_off_and_sizes_come_back() -> None:
    encoded = Payload(metadata={"encoding": b"binary/envelope-v1", MARK: b"true"}, data=b"sealed")
    encoded.external_payloads.add().size_bytes = 7
    assert is_encoded_reference(encoded)
    assert refers_to_storage(encoded)
    bare = strip_mark(encoded)
    assert bare == Payload(metadata={"encoding": b"binary/envelope-v1"}, data=b"sealed")
    assert is_encoded_reference(encoded)
    assert not refers_to_storage(bare)
    reference = today()
    del reference.external_payloads[:]
    assert restore_sizes(reference, encoded) == today()
    assert restore_sizes(today(), Payload()) == today()
