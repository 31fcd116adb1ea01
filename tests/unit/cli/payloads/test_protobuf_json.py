"""Payloads in protobuf's JSON."""

from __future__ import annotations

import base64

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec.cli.payloads.walk import locations_in
from tests.support.inspected_payloads import E, Run


def test_base64_of_either_alphabet_padded_or_not_is_read(run: Run) -> None:
    payload = Payload(metadata={"encoding": b"binary/plain"}, data=b"\xfb\xff\xfe\x01")
    for encoded in ("+//+AQ==", "-__-AQ", "-__-AQ=="):
        document = {"metadata": {"encoding": base64.b64encode(b"binary/plain").decode()}, "data": encoded}
        (place,) = locations_in([document])
        assert place.payload == payload


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {"encoding": "!!!"}},
        {"metadata": {"encoding": E["metadata"]["encoding"]}, "data": "*"},
        {"metadata": {"encoding": E["metadata"]["encoding"]}, "data": 7},
        {"metadata": {"encoding": "A"}, "data": ""},
        {"metadata": {"encoding": "YQ==", "\ud800": "YQ=="}, "data": ""},
    ],
)
def test_wrong_base64_is_a_malformed_payload(run: Run, document: object) -> None:
    outcome = run(document)
    assert (outcome.status, outcome.err) == (1, "")
    assert "malformed: its metadata and data must be base64" in outcome.out
