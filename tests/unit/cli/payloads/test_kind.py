"""What a payload is taken for."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload, Payloads, SearchAttributes
from temporalio.api.history.v1 import (
    History,
    HistoryEvent,
    MarkerRecordedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)

from envelope_codec import MalformedEnvelope
from envelope_codec.cli.payloads.kind import Kind, judge
from envelope_codec.cli.payloads.location import Location
from envelope_codec.cli.payloads.walk import locations_in
from envelope_codec.envelope import parse
from envelope_codec.testing import FakeKms
from tests.support.inspected_payloads import PLAIN, Run, as_json, changed, envelope, history
from tests.support.proxied import NAME, seal_as_proxy
from tests.vectors.vector_files import Vector, load


@pytest.mark.parametrize("vector", load(lambda vector: vector.expect == "MalformedEnvelope"), ids=lambda v: v.name)
def test_each_malformed_vector_is_shown_with_its_reason(vector: Vector) -> None:
    payload = Payload(metadata=vector.metadata, data=vector.data)
    with pytest.raises(MalformedEnvelope) as refused:
        parse(payload.metadata, payload.data)
    (place,) = locations_in([as_json(payload)])
    assert judge(place).why == str(refused.value)
    later = vector.metadata.get("encoding", b"").startswith(b"binary/envelope-") and (
        vector.metadata["encoding"] != b"binary/envelope-v1"
    )
    assert judge(place).kind is (Kind.later_version if later else Kind.malformed)


@pytest.mark.parametrize(
    "vector", load(lambda vector: vector.expect in ("ok", "InvalidCiphertext")), ids=lambda v: v.name
)
def test_each_well_formed_vector_is_an_envelope(vector: Vector) -> None:
    (place,) = locations_in([as_json(Payload(metadata=vector.metadata, data=vector.data))])
    assert judge(place).kind is Kind.envelope


@pytest.mark.parametrize("vector", load(lambda vector: vector.expect == "untouched"), ids=lambda v: v.name)
def test_what_is_no_envelope_is_not_taken_for_one(vector: Vector) -> None:
    payload = Payload(metadata=vector.metadata, data=vector.data)
    assert judge(Location(".", payload)).kind in (Kind.clear, Kind.legacy)


def test_a_later_version_is_status_1_and_named_as_such(run: Run) -> None:
    later = changed(envelope(), encoding=b"binary/envelope-v2")
    outcome = run(as_json(later))
    assert outcome.status == 1
    assert "of a later version, binary/envelope-v2: the envelope is of a version that" in outcome.out
    document = run(as_json(later), "--json").document
    assert document["payloads"][0]["kind"] == "later-version"
    assert (document["summary"]["later_versions"], document["summary"]["malformed"]) == (1, 0)


def test_what_a_legacy_codec_sealed_is_told_from_plaintext(run: Run) -> None:
    old = Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"test"}, data=b"x" * 40)
    outcome = run(as_json(history(old, PLAIN)))
    assert "legacy codec        1, binary/encrypted\n" in outcome.out
    summary = run(as_json(history(old, PLAIN)), "--json").document["summary"]
    assert (summary["legacy"], summary["clear"]) == (1, 1)


def test_the_key_of_what_temporals_proxy_sealed_is_told_to_programs(run: Run) -> None:
    sealed = seal_as_proxy(FakeKms())
    [shown] = run(as_json(history(sealed)), "--json").document["payloads"]
    assert (shown["kind"], shown["proxy_key"]) == ("legacy", NAME)


def test_what_temporal_writes_in_clear_is_named_as_such(run: Run) -> None:
    started = WorkflowExecutionStartedEventAttributes(
        search_attributes=SearchAttributes(indexed_fields={"City": PLAIN}),
        input=Payloads(payloads=[Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"{}")]),
    )
    events = [
        HistoryEvent(event_type=1, workflow_execution_started_event_attributes=started),  # type: ignore[arg-type]
        *(
            HistoryEvent(
                event_type=27,  # type: ignore[arg-type]
                marker_recorded_event_attributes=MarkerRecordedEventAttributes(
                    marker_name=name,
                    details={entry: Payloads(payloads=[PLAIN]), "result": Payloads(payloads=[envelope()])},
                ),
            )
            for name, entry in (("core_local_activity", "data"), ("core_patch", "patch-data"))
        ),
    ]
    summary = run(as_json(History(events=events)), "--json").document["summary"]
    assert (summary["envelopes"], summary["clear"], summary["temporal"]) == (2, 0, 4)
    assert summary["temporal_by_name"] == {
        "search attribute": 1,
        "reference to external storage": 1,
        "marker of the SDK's core": 2,
    }


def test_a_marker_of_the_users_own_is_in_clear(run: Run) -> None:
    marker = MarkerRecordedEventAttributes(marker_name="mine", details={"data": Payloads(payloads=[PLAIN])})
    core = MarkerRecordedEventAttributes(marker_name="core_patch", details={"data": Payloads(payloads=[PLAIN])})
    for one in (marker, core):
        event = HistoryEvent(event_type=27, marker_recorded_event_attributes=one)  # type: ignore[arg-type]
        assert run(as_json(event), "--json").document["summary"]["clear"] == 1
