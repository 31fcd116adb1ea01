"""The count of one workflow: what its payloads are, and what Temporal wrote into it itself."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityExecutionListInfo
from temporalio.api.common.v1 import Memo, Payload, Payloads, SearchAttributes
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.converter import JSONProtoPayloadConverter

from envelope_codec.cli.audit.count import HIDDEN, UNKNOWN_FIELD, Count
from envelope_codec.cli.audit.need import KeyVersion
from envelope_codec.cli.audit.tally import Tally, from_document, to_document
from envelope_codec.cli.reading.reader import Source, SourceKind
from envelope_codec.testing import FakeKms
from tests.support.audited_payloads import under
from tests.support.proxied import NAME, seal_as_proxy

OLD = KeyVersion("OLD", "")
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a"')


def count(
    *messages: Message, servers: bool = False, ended: bool = True, type: str = "temporal-sys-scheduler-workflow"
) -> Tally:
    listed = WorkflowExecutionInfo()
    listed.type.name = type
    listed.close_time.FromSeconds(77)
    if servers:
        attributes = {"TemporalNamespaceDivision": Payload(metadata={"encoding": b"json/plain"})}
        listed.search_attributes.CopyFrom(SearchAttributes(indexed_fields=attributes))
    counting = Count(Source(SourceKind.workflow, "w", "r", ended, listed))
    for message in messages:
        counting.add(message)
    return counting.end()


def inputs(*payloads: Payload) -> HistoryEvent:
    event = HistoryEvent()
    event.workflow_execution_started_event_attributes.input.payloads.extend(payloads)
    return event


def encoded(encoding: str) -> Payload:
    return Payload(metadata={"encoding": encoding.encode()}, data=b"d")


def test_envelopes_are_counted_by_key() -> None:
    tally = count(inputs(under("OLD"), under("OLD", "NEW")), inputs(under("NEW")))
    assert {key.key_id: (need.payloads, need.runs) for key, need in tally.needs.items()} == {
        "OLD": (2, 1),
        "NEW": (2, 1),
    }
    assert (tally.needs[OLD].last_close, tally.needs[OLD].examples) == (77.0, ["w"])
    assert count(inputs(under("OLD")), ended=False).needs[OLD].last_close == 0


def test_what_temporals_proxy_sealed_counts_under_its_name_of_the_key() -> None:
    kms = FakeKms()
    tally = count(inputs(seal_as_proxy(kms), seal_as_proxy(kms), seal_as_proxy(kms, name="proxykms://other")))
    needs = {key.key_id: (need.payloads, need.sole, need.runs, need.last_close) for key, need in tally.needs.items()}
    assert needs == {NAME: (2, 2, 1, 77.0), "proxykms://other": (1, 1, 1, 77.0)}
    assert tally.foreign == {"binary/encrypted": 3}, "an envelope may be in it"
    assert from_document(to_document(tally)) == tally


def test_the_same_payload_counts_once() -> None:
    one = under("OLD")
    assert count(inputs(one), Memo(fields={"m": one})).needs[OLD].payloads == 1


def test_what_is_no_envelope_is_told_apart() -> None:
    malformed = under("OLD")
    malformed.data = b"short"
    kinds = [encoded("json/plain"), encoded("binary/encrypted"), encoded("binary/zlib"), encoded("binary/envelope-v9")]
    tally = count(inputs(*kinds, malformed))
    assert tally.kinds == {"clear": 1, "legacy": 1, "foreign": 1, "later-version": 1, "malformed": 1}
    assert tally.clear == {"json/plain": 1}
    assert tally.foreign == {"binary/encrypted": 1, "binary/zlib": 1}
    assert sum(tally.unreadable.values()) == 2
    assert tally.places.keys() == tally.foreign.keys() | tally.unreadable.keys()
    assert tally.places["binary/zlib"].endswith("input.payloads[2]")
    assert tally.first_clear == "workflow 'w': workflow_execution_started_event_attributes.input.payloads[0]"


def test_failures_in_clear_are_counted() -> None:
    sealed = Failure(message="Encoded failure", encoded_attributes=under("OLD"))
    clear = Failure(message="the card of Marigold was refused", cause=Failure(message="no money"))
    tally = count(inputs(), *(event_of(failure) for failure in (sealed, clear)))
    assert (tally.failures, tally.needs[OLD].payloads) == (2, 1)
    assert "activity_task_failed_event_attributes.failure" in tally.first_clear


def event_of(failure: Failure) -> HistoryEvent:
    event = HistoryEvent()
    event.activity_task_failed_event_attributes.failure.CopyFrom(failure)
    return event


def test_search_attributes_and_markers_of_the_core_are_temporals() -> None:
    event = HistoryEvent()
    event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields["K"].CopyFrom(PLAIN)
    marker = HistoryEvent()
    marker.marker_recorded_event_attributes.marker_name = "core_patch"
    marker.marker_recorded_event_attributes.details["patch-data"].payloads.append(encoded("json/plain"))
    assert count(event, marker).kinds == {"temporal": 2}


def reference(claim: dict[str, str]) -> Payload:
    payload = JSONProtoPayloadConverter().to_payload(ExternalStorageReference(driver_name="d", claim_data=claim))
    assert payload is not None
    return payload


def test_references_are_counted_with_the_envelope_that_they_carry() -> None:
    ours = reference({"envelope": base64.b64encode(under("OLD").SerializeToString()).decode()})
    encoded_one = under("OLD")
    encoded_one.metadata["__temporal_external_storage_reference"] = b"true"
    tally = count(inputs(ours, encoded_one, reference({"bucket": "b"})))
    assert (tally.behind, tally.unreadable) == ({"ours": 2, "others": 1}, {})
    assert tally.needs[OLD].payloads == 2


def test_the_servers_own_workflows_are_searched_and_their_notes_are_temporals() -> None:
    inside = HistoryEvent()
    inside.workflow_execution_started_event_attributes.input.payloads.extend([under("OLD"), encoded("json/plain")])
    args = Payload(data=inside.SerializeToString())
    args.metadata["encoding"] = b"binary/protobuf"
    args.metadata["messageType"] = b"temporal.server.api.schedule.v1.StartScheduleArgs"
    tally = count(inputs(args, PLAIN), servers=True)
    assert tally.needs[OLD].payloads == 1
    assert tally.kinds == {"envelope": 1, "temporal": 2, "clear": 1}, "the schedule's input in clear is a user's"


def test_a_division_does_not_make_a_workflow_the_servers() -> None:
    """Users may give theirs one. What it holds in clear is theirs."""
    assert count(inputs(PLAIN), servers=True, type="Mine").kinds == {"clear": 1}
    assert count(inputs(PLAIN), servers=True).kinds == {"temporal": 1}


def test_standalone_activities_are_users_though_the_server_gives_them_a_division() -> None:
    listed = ActivityExecutionListInfo(activity_id="a")
    listed.search_attributes.indexed_fields["TemporalNamespaceDivision"].data = b'"3332429922"'
    counting = Count(Source(SourceKind.activity, "a", "r", False, listed))
    counting.add(inputs(PLAIN))
    assert counting.end().kinds == {"clear": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"prefix " + under("OLD").SerializeToString(),
        b'"' + base64.b64encode(under("OLD").SerializeToString()) + b'"',
        b'"' + base64.b64encode(b"x" + under("OLD").SerializeToString()) + b'"',
        b'"' + base64.b64encode(b"xy" + under("OLD").SerializeToString()) + b'"',
    ],
)
@pytest.mark.parametrize("encoding", ["json/plain", "binary/plain", "binary/mine"])
def test_an_envelope_that_somebody_has_wrapped_is_not_overlooked(data: bytes, encoding: str) -> None:
    """Nobody knows its key. So it counts as unreadable, and no key is said to be not needed."""
    tally = count(inputs(Payload(metadata={"encoding": encoding.encode()}, data=data)))
    assert tally.unreadable == {HIDDEN: 1}


@pytest.mark.parametrize("indent", [None, 2])
def test_an_envelope_in_json_of_a_user_is_counted(indent: int | None) -> None:
    """Such as a history that is passed on as a value."""
    document = json.dumps([{"deep": [MessageToDict(inputs(under("OLD")))]}], indent=indent)
    tally = count(inputs(Payload(metadata={"encoding": b"json/plain"}, data=document.encode())))
    assert (tally.needs[OLD].payloads, tally.unreadable) == (1, {})


def test_messages_of_the_servers_in_json_are_searched() -> None:
    """As of a batch operation that sends a signal."""

    def spelled(payload: Payload) -> dict[str, Any]:
        metadata = {name: base64.b64encode(value).decode() for name, value in payload.metadata.items()}
        return {"metadata": metadata, "data": base64.b64encode(payload.data).decode()}

    document = {"request": {"signalOperation": {"input": {"payloads": [spelled(under("OLD"))]}}}}
    batch = Payload(data=json.dumps(document).encode())
    batch.metadata["encoding"] = b"json/protobuf"
    batch.metadata["messageType"] = b"temporal.server.api.batch.v1.BatchOperationInput"
    assert count(inputs(batch), servers=True).needs[OLD].payloads == 1


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"payloads": 1}'])
def test_a_message_of_the_servers_of_any_form_is_no_error(data: bytes) -> None:
    metadata = {"encoding": b"json/protobuf", "messageType": b"temporal.server.x"}
    assert count(inputs(Payload(metadata=metadata, data=data)), servers=True).kinds == {"temporal": 1}


def test_a_nested_message_that_can_t_be_read_is_malformed() -> None:
    metadata = {
        "encoding": b"binary/protobuf",
        "messageType": b"temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionRequest",
        "__temporal_system_payload": b"true",
    }
    tally = count(Payloads(payloads=[Payload(metadata=metadata, data=b"\xff")]))
    assert tally.kinds == {"malformed": 1}


def test_an_envelope_beside_one_that_is_found_is_not_overlooked() -> None:
    document = [MessageToDict(inputs(under("OLD"))), base64.b64encode(under("NEW").SerializeToString()).decode()]
    tally = count(inputs(Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(document).encode())))
    assert (tally.needs[OLD].payloads, tally.unreadable) == (1, {HIDDEN: 1})


def test_an_envelope_in_json_that_is_in_json_is_counted() -> None:
    """Such as a history with a history in it. What is base64 twice names no envelope that one could look for."""
    inner = json.dumps(MessageToDict(inputs(under("OLD"))))
    outer = json.dumps(MessageToDict(inputs(Payload(metadata={"encoding": b"json/plain"}, data=inner.encode()))))
    assert count(inputs(Payload(metadata={"encoding": b"json/plain"}, data=outer.encode()))).needs[OLD].payloads == 1


def later_event(payload: Payload) -> HistoryEvent:
    """An event of a server that is newer than the API installed here: its attributes are in a field of their own."""
    known = HistoryEvent(event_id=1)
    known.workflow_execution_signaled_event_attributes.input.payloads.append(payload)
    attributes = known.workflow_execution_signaled_event_attributes.SerializeToString()
    tag, size = b"\xe2\x76", len(attributes)  # number 1,900
    return HistoryEvent.FromString(tag + bytes((size & 0x7F | 0x80, size >> 7)) + attributes)


def test_a_payload_in_a_field_of_a_later_server_is_not_overlooked() -> None:
    """Nothing here knows the field. An audit that passed over it would say that no history needs OLD."""
    tally = count(History(events=[inputs(under("NEW")), later_event(under("OLD"))]))
    assert tally.unreadable == {UNKNOWN_FIELD: 1}
    assert tally.places == {UNKNOWN_FIELD: "workflow 'w': History"}
    harmless = HistoryEvent.FromString(b"\xe2\x76\x04text")
    assert count(harmless).unreadable == {}
