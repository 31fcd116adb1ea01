"""The walk through a document: every payload is found, and its path told."""

from __future__ import annotations

import json

import pytest
from google.protobuf import message_factory
from google.protobuf.json_format import MessageToDict, Parse
from temporalio.api.common.v1 import Header, Memo, Payload
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.sdk.v1 import UserMetadata

from envelope_codec.cli.payloads.walk import _Finder
from envelope_codec.temporal.payload_walk import Role, walk
from tests.support.api_messages import HOLDERS, TYPES, go
from tests.support.inspected_payloads import PLAIN, E, Run, as_json, envelope, history

EVENT = as_json(history(envelope()).events[0])


IN_EVENT = "workflowExecutionStartedEventAttributes.input.payloads[0]"


@pytest.mark.parametrize(
    ("document", "places"),
    [
        (json.dumps(E), ["."]),
        (json.dumps([E, E]), ["[0]", "[1]"]),
        (json.dumps({"payloads": [E]}), ["payloads[0]"]),
        (json.dumps(EVENT), [IN_EVENT]),
        (json.dumps([EVENT, EVENT]), [f"[0].{IN_EVENT}", f"[1].{IN_EVENT}"]),
        (json.dumps({"events": [EVENT]}), [f"events[0].{IN_EVENT}"]),
        (json.dumps({"history": {"events": [EVENT]}, "nextPageToken": ""}), [f"history.events[0].{IN_EVENT}"]),
        ("\n".join(json.dumps(one) for one in (E, EVENT, {"events": [EVENT]})), ["[0]", f"[1].{IN_EVENT}", "[2]"]),
        ("\n" + json.dumps(E, indent=2) + "\n\n" + json.dumps(E, indent=2) + "\n", ["[0]", "[1]"]),
        (json.dumps({"a b": [{"c": E}], "é": E}), ['["a b"][0].c', '["\\u00e9"]']),
        (json.dumps({"memo": {"fields": {"x": E}}}), ["memo.fields.x"]),
    ],
)
def test_every_form_of_input_is_read(run: Run, document: str, places: list[str]) -> None:
    outcome = run(document, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = [one["place"] for one in outcome.document["payloads"]]
    assert [place.startswith(start) for place, start in zip(found, places, strict=True)] == [True] * len(places)
    assert {one["kind"] for one in outcome.document["payloads"]} == {"envelope"}
    assert outcome.document["summary"]["records"] == 1


def test_snake_case_is_read_as_well(run: Run) -> None:
    document = MessageToDict(history(envelope(), PLAIN), preserving_proto_field_name=True)
    summary = run(document, "--json").document["summary"]
    assert (summary["envelopes"], summary["clear"]) == (1, 1)


def test_values_that_tools_print_in_place_of_payloads_are_counted(run: Run) -> None:
    started = {
        "input": ["marigold", None, {"a": 1}, {"_protoMessageType": "x.Y"}, {"metadata": {"a": "b"}}, [1], E],
        "memo": {"fields": {"n": None, "list": [1, 2], "sealed": E}},
        "header": {"fields": {"h": 7}},
    }
    document = run({"events": [{"eventType": "X", "workflowExecutionStartedEventAttributes": started}]}, "--json")
    summary = document.document["summary"]
    assert summary["envelopes"] == 2
    assert summary["clear_by_encoding"] == {"json/plain": 6, "binary/null": 2, "json/protobuf": 1}


def test_fields_and_events_that_a_later_server_adds_are_searched(run: Run) -> None:
    document = {"events": [{"eventType": "Z", "newEventAttributes": {"x": {"payloads": [E]}, "y": [E]}}]}
    places = [one["place"] for one in run(document, "--json").document["payloads"]]
    assert places == ["events[0].newEventAttributes.x.payloads[0]", "events[0].newEventAttributes.y[0]"]


def test_a_history_without_payloads_is_no_error(run: Run) -> None:
    outcome = run({"events": []})
    assert (outcome.status, outcome.out) == (0, "Summary\n  envelopes           0\n  in clear            0\n")


def test_memo_header_and_metadata_in_clear_are_found(run: Run) -> None:
    started = WorkflowExecutionStartedEventAttributes(
        memo=Memo(fields={"a": PLAIN}), header=Header(fields={"b": PLAIN})
    )
    event = HistoryEvent(
        event_type=1,  # type: ignore[arg-type]
        workflow_execution_started_event_attributes=started,
        user_metadata=UserMetadata(summary=PLAIN),
    )
    places = {one["place"] for one in run(as_json(event), "--json").document["payloads"] if one["kind"] == "clear"}
    at = "workflowExecutionStartedEventAttributes"
    assert places == {f"{at}.memo.fields.a", f"{at}.header.fields.b", "userMetadata.summary"}


@pytest.mark.parametrize(
    "document",
    [
        {"events": [1, None, "x", [[]], {"eventType": {}}]},
        {"events": [{"eventType": 1, "workflowExecutionStartedEventAttributes": [1]}]},
        {"events": [{"eventType": 1, "workflowExecutionStartedEventAttributes": {"input": 3, "memo": {"fields": 4}}}]},
        {"events": [{"eventType": 1, "markerRecordedEventAttributes": {"markerName": [], "details": {"": None}}}]},
        {"events": [{"eventType": 1, "activityTaskFailedEventAttributes": {"failure": {"message": 1, "cause": []}}}]},
        {"events": [{"eventType": 1, "userMetadata": {"summary": None, "details": []}}]},
    ],
)
def test_a_history_of_the_wrong_types_is_no_traceback(run: Run, document: object) -> None:
    outcome = run(document)
    assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize(("causes", "status"), [(90, 0), (195, 0), (200, 2), (400, 2)])
def test_a_long_chain_of_causes_is_followed(run: Run, causes: int, status: int) -> None:
    text = '{"cause":' * causes + json.dumps({"message": "marigold", "encodedAttributes": E}) + "}" * causes
    event = '{"eventType": 13, "activityTaskFailedEventAttributes": {"failure": ' + text + "}}"
    Parse(event, HistoryEvent(), max_recursion_depth=1000)  # it is a message
    outcome = run(event, "--json")
    assert outcome.status == status
    if status:
        assert outcome.err == "envelope-codec: the input is nested too deeply\n"
    else:
        assert outcome.document["summary"]["envelopes"] == 1


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {"encoding": "!!!"}},
        {"metadata": {"encoding": E["metadata"]["encoding"]}, "data": "*"},
        {"metadata": {"encoding": E["metadata"]["encoding"]}, "data": 7},
    ],
)
def test_wrong_base64_is_a_malformed_payload(run: Run, document: object) -> None:
    outcome = run(document)
    assert (outcome.status, outcome.err) == (1, "")
    assert "malformed: its metadata and data must be base64" in outcome.out


def test_a_document_and_the_message_that_it_is_hold_the_same() -> None:
    """In every field of the API's that can hold a payload: ``inspect`` finds what ``audit`` does."""
    payload = Payload(metadata={"encoding": b"binary/plain"}, data=b"p")
    looked = 0
    for name, its in HOLDERS.items():
        if not name.startswith("temporal.api."):
            continue
        for way in its:
            message = message_factory.GetMessageClass(TYPES[name])()
            go(message, way, payload)
            looked += 1
            [found] = [one for one in walk(message) if isinstance(one.message, Payload)]
            document = MessageToDict(message)
            locations = [one for one in _Finder().message(document, TYPES[name], "", 0, Role.user) if one.payload]
            assert [(one.payload, one.role) for one in locations] == [(payload, found.role)], found.path
    assert looked > 1_500
