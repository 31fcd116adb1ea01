"""Payloads in protobuf's JSON."""

from __future__ import annotations

import base64

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec.temporal.payload_json import NotBase64, is_payload, payload_of_value, read_payload

ENCODING = base64.b64encode(b"binary/plain").decode()


@pytest.mark.parametrize("data", ["+//+AQ==", "-__-AQ", "-__-AQ=="])
def test_base64_of_either_alphabet_padded_or_not_is_read(data: str) -> None:
    payload = Payload(metadata={"encoding": b"binary/plain"}, data=b"\xfb\xff\xfe\x01")
    assert read_payload({"metadata": {"encoding": ENCODING}, "data": data}) == payload


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {"encoding": "!!!"}},
        {"metadata": {"encoding": ENCODING}, "data": "*"},
        {"metadata": {"encoding": ENCODING}, "data": 7},
        {"metadata": {"encoding": "A"}, "data": ""},
        {"metadata": {"encoding": "YQ==", "\ud800": "YQ=="}, "data": ""},
    ],
)
def test_wrong_base64_is_told(document: object) -> None:
    assert is_payload(document)
    with pytest.raises(NotBase64):
        read_payload(document)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"metadata": {"encoding": ENCODING}}, True),
        ({"metadata": {"encryption-key-id": ENCODING}, "data": "", "externalPayloads": []}, True),
        ({"metadata": {"a": "b"}}, False),
        ({"metadata": {"encoding": 7}}, False),
        ({"metadata": {"encoding": ENCODING}, "more": 1}, False),
        ([], False),
    ],
)
def test_what_is_written_out_is_told_from_other_values(value: object, expected: bool) -> None:
    assert is_payload(value) is expected


@pytest.mark.parametrize(
    ("value", "metadata"),
    [
        (None, {"encoding": b"binary/null"}),
        ({"_protoMessageType": "x.Y"}, {"encoding": b"json/protobuf", "messageType": b"x.Y"}),
        ({"_protoMessageType": 7}, {"encoding": b"json/plain"}),
        ("a", {"encoding": b"json/plain"}),
    ],
)
def test_a_value_stands_for_its_payload(value: object, metadata: dict[str, bytes]) -> None:
    assert payload_of_value(value) == Payload(metadata=metadata)
