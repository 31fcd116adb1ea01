"""The sealed claim in a reference to external storage."""

from __future__ import annotations

import base64
import json

import pytest
from google.protobuf.json_format import MessageToJson
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference

from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.storage.claim import Claim
from envelope_codec.testing import FakeKms
from tests.support.inspected_payloads import Run, as_json, changed, envelope, history


def reference(claim_data: dict[str, str], driver: str = "envelope-codec") -> Payload:
    message = ExternalStorageReference(driver_name=driver, claim_data=claim_data)
    metadata = {"encoding": b"json/protobuf", "messageType": message.DESCRIPTOR.full_name.encode()}
    return Payload(metadata=metadata, data=MessageToJson(message).encode())


async def test_the_claim_in_a_reference_needs_its_key_too(run: Run) -> None:
    kms = FakeKms("fakekms://stored")
    codec = EnvelopeCodec(EnvelopeConfig(key=kms), namespace="prod")
    stored = reference(await Claim.of("an-id", b"stored bytes").seal(codec))
    codec.close()
    shorthand = {**json.loads(stored.data), "_protoMessageType": stored.metadata["messageType"].decode()}
    in_full, as_value = as_json(history(stored)), {"eventType": 1, "activityTaskScheduledEventAttributes": {}}
    as_value["activityTaskScheduledEventAttributes"] = {"input": [shorthand]}
    for document in (in_full, as_value):
        outcome = run(document, "--json")
        assert outcome.status == 0
        whole, claim = outcome.document["payloads"]
        assert (whole["kind"], whole["name"]) == ("temporal", "reference to external storage")
        assert (claim["kind"], claim["place"]) == ("envelope", f"{whole['place']} (claim)")
        (key,) = outcome.document["summary"]["keys"]
        assert (key["key_id"], key["envelopes"]) == ("fakekms://stored", 1)


@pytest.mark.parametrize(
    "claim_data",
    [
        {},
        {"key": "s3://bucket/key"},
        {"envelope": "", "more": ""},
        {"envelope": "*"},
        {"envelope": base64.b64encode(b"\xff\xff").decode()},
        {
            "envelope": base64.b64encode(
                Payload(metadata=envelope().metadata, data=bytes(60_000)).SerializeToString()
            ).decode()
        },
    ],
)
def test_a_reference_of_another_drivers_has_no_claim_of_ours(run: Run, claim_data: dict[str, str]) -> None:
    outcome = run(as_json(reference(claim_data, "another")), "--json")
    assert outcome.status == 0
    assert [one["kind"] for one in outcome.document["payloads"]] == ["temporal"]


def test_a_malformed_claim_is_told(run: Run) -> None:
    broken = base64.b64encode(changed(envelope(), encryption_data_key=b"short").SerializeToString()).decode()
    outcome = run(as_json(reference({"envelope": broken})))
    assert outcome.status == 1
    assert "  . (claim)\n    malformed: the envelope's data key has the wrong length\n" in outcome.out


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"7", b'{"claimData": 7}', b"[" * 100_000, b"\xff"])
def test_a_reference_that_is_none_is_no_traceback(run: Run, data: bytes) -> None:
    stored = reference({})
    stored.data = data
    assert run(as_json(stored)).status == 0
