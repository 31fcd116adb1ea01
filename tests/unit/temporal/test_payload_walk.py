"""The walk through a message finds every payload, wherever Temporal's API can hold one, and says what it is for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio.api.common.v1 import Header, Memo, Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Input, Request
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest

from envelope_codec.temporal.payload_walk import MAX_WITHIN, Role, path_of, payloads_in, walk
from tests.support.api_messages import HOLDERS, TYPES, Way, go


def names(way: Way) -> list[str]:
    return [field.name for field in way]


def test_the_types_of_the_api_are_there() -> None:
    holders = {name for name, its in HOLDERS.items() if its}
    assert len(holders) > 150
    assert {"temporal.api.history.v1.HistoryEvent", "coresdk.workflow_activation.WorkflowActivation"} <= holders


def test_every_field_that_can_hold_a_payload_is_visited() -> None:
    filled = 0
    for name, its in HOLDERS.items():
        kind = message_factory.GetMessageClass(TYPES[name])
        for way in its:
            message, payload = kind(), Payload(data=b"p")
            go(message, way, payload)
            filled += 1
            assert list(payloads_in(message)) == [payload], [field.full_name for field in way]
            [found] = [one for one in walk(message) if isinstance(one.message, Payload)]
            assert [step.partition("[")[0] for step in found.path.split(".") if step != "key"] == names(way)
    assert filled > 4_000


def test_all_fields_of_a_type_are_visited_at_once() -> None:
    """All that can be set together: of a ``oneof`` the last one stays."""
    for name, its in HOLDERS.items():
        message = message_factory.GetMessageClass(TYPES[name])()
        for number, way in enumerate(its):
            go(message, way, Payload(data=str(number).encode()))
        assert sorted(one.data for one in payloads_in(message)) == sorted(everywhere(message)), name


def everywhere(message: Message) -> Iterator[bytes]:
    """Go through all fields that are set, whatever they are."""
    if isinstance(message, Payload):
        yield message.data
        return
    for _, value in message.ListFields():
        values = value.values() if hasattr(value, "values") else [value] if isinstance(value, Message) else value
        for one in values if not isinstance(values, str | bytes | int | float) else ():
            if isinstance(one, Message):
                yield from everywhere(one)


def test_a_payload_is_one_itself() -> None:
    assert list(payloads_in(Payload(data=b"p"))) == [Payload(data=b"p")]


def test_payloads_at_any_depth() -> None:
    one, two, three, four, five = (Payload(data=bytes([number])) for number in range(5))
    event = HistoryEvent(
        workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
            input=Payloads(payloads=[one, two]),
            header=Header(fields={"a b": three}),
            memo=Memo(fields={"b": four}),
            continued_failure=Failure(
                cause=Failure(application_failure_info=ApplicationFailureInfo(details=Payloads(payloads=[five])))
            ),
        )
    )
    assert sorted(payload.data for payload in payloads_in(event)) == [bytes([number]) for number in range(5)]
    start = "workflow_execution_started_event_attributes"
    assert {found.path: found.role for found in walk(event) if isinstance(found.message, Payload)} == {
        f"{start}.input.payloads[0]": Role.user,
        f"{start}.input.payloads[1]": Role.user,
        f"{start}.header.fields['a b']": Role.header,
        f"{start}.memo.fields.b": Role.user,
        f"{start}.continued_failure.cause.application_failure_info.details.payloads[0]": Role.user,
    }
    assert [found.path for found in walk(event) if isinstance(found.message, Failure)] == [
        f"{start}.continued_failure",
        f"{start}.continued_failure.cause",
    ]


@pytest.mark.parametrize(
    ("marker", "roles"),
    [
        ("core_local_activity", {"data": Role.marker, "result": Role.user}),
        ("core_patch", {"data": Role.user, "result": Role.user}),
        ("mine", {"data": Role.user, "result": Role.user}),
    ],
)
def test_what_the_core_writes_into_a_marker_is_told_apart(marker: str, roles: dict[str, Role]) -> None:
    event = HistoryEvent()
    attributes = event.marker_recorded_event_attributes
    attributes.marker_name = marker
    for name in roles:
        attributes.details[name].payloads.add(data=name.encode())
    assert {found.message.data.decode(): found.role for found in walk(event)} == roles  # type: ignore[union-attr]


def test_search_attributes_are_told_apart() -> None:
    event = HistoryEvent()
    fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
    fields["Keyword"].data = b"k"
    assert [found.role for found in walk(event)] == [Role.search_attribute]


def nested(message: Message) -> Payload:
    metadata = {
        "encoding": b"binary/protobuf",
        "messageType": message.DESCRIPTOR.full_name.encode(),
        "__temporal_system_payload": b"true",
    }
    return Payload(metadata=metadata, data=message.SerializeToString())


def request(*payloads: Payload) -> SignalWithStartWorkflowExecutionRequest:
    return SignalWithStartWorkflowExecutionRequest(
        input=Payloads(payloads=payloads), header=Header(fields={"h": Payload(data=b"h")})
    )


def test_messages_that_temporal_nests_are_entered() -> None:
    message = Payloads(payloads=[nested(request(Payload(data=b"p"))), Payload(data=b"last")])
    assert len(list(payloads_in(message))) == 2
    found = {one.path: (one.message.data, one.role, one.within) for one in walk(message)}  # type: ignore[union-attr]
    del found["payloads[0]"]
    assert found == {
        "payloads[1]": (b"last", Role.user, 0),
        "payloads[0].message.input.payloads[0]": (b"p", Role.user, 1),
        "payloads[0].message.header.fields.h": (b"h", Role.header, 1),
    }


def test_a_nested_message_that_cannot_be_read_is_told() -> None:
    broken = nested(request())
    broken.data = b"\xff"
    assert [one.unreadable for one in walk(Payloads(payloads=[broken, Payload()]))] == [True, False]


def test_there_is_an_end_to_nesting() -> None:
    """Or whoever can write a payload makes the walk as deep as he likes."""
    payload = Payload(data=b"p")
    for _ in range(MAX_WITHIN + 1):
        payload = nested(request(payload))
    found = list(walk(Payloads(payloads=[payload])))
    assert [one.within for one in found if one.unreadable] == [MAX_WITHIN]
    assert all(one.message.data != b"p" for one in found)  # type: ignore[union-attr]


def test_what_an_any_holds_is_entered() -> None:
    """Messages between server and worker carry requests of updates so."""
    body = AnyMessage()
    body.Pack(Request(input=Input(args=Payloads(payloads=[Payload(data=b"p")]))))
    found = [one for one in walk(ProtocolMessage(body=body)) if isinstance(one.message, Payload)]
    assert [(one.path, one.message) for one in found] == [("body.message.input.args.payloads[0]", Payload(data=b"p"))]
    body.type_url = "type.googleapis.com/unknown.Kind"
    assert [one for one in walk(ProtocolMessage(body=body)) if isinstance(one.message, Payload)] == []
    assert list(payloads_in(ProtocolMessage(body=body))) == []


def test_a_path_without_steps_is_empty() -> None:
    assert path_of(None) == ""


def server_message(data: bytes, kind: bytes = b"temporal.server.api.schedule.v1.StartScheduleArgs") -> Payload:
    return Payload(metadata={"encoding": b"binary/protobuf", "messageType": kind}, data=data)


def test_messages_of_the_servers_own_workflows_are_searched() -> None:
    """As of a schedule: its action holds the input and memo that its creator sealed."""
    sealed = Payload(metadata={"encoding": b"binary/envelope-v1"}, data=b"s")
    memo = Payload(metadata={"encoding": b"json/plain"}, data=b"m")
    # No public type has this form; the fields of these are numbered as those of the server's message are.
    action = HistoryEvent(
        workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
            input=Payloads(payloads=[sealed]), memo=Memo(fields={"m": memo})
        )
    )
    holder = server_message(action.SerializeToString())
    found = [one for one in walk(Payloads(payloads=[holder])) if one.within]
    assert [one.message for one in found] == [sealed, memo]
    assert {one.path for one in found} == {"payloads[0].message[0]", "payloads[0].message[1]"}
    holder.metadata["messageType"] = b"mine.Kind"
    inside = [one.message for one in walk(Payloads(payloads=[holder])) if one.within]
    assert inside == [sealed], "in what users write in clear, only what is sealed counts"


@pytest.mark.parametrize(
    ("data", "unreadable"),
    [(b"\n\x08encoding", False), (b"\xff\n\x08encoding", True), (b"\n\x0b\n\x08encoding\xff", False)],
)
def test_bytes_of_any_form_are_no_error(data: bytes, unreadable: bool) -> None:
    assert [one.unreadable for one in walk(server_message(data))] == [unreadable]
    assert [one.unreadable for one in walk(server_message(data, b"mine.Kind"))] == [False]


def json_message(data: bytes, kind: bytes = b"temporal.server.api.batch.v1.BatchOperationInput") -> Payload:
    return Payload(metadata={"encoding": b"json/protobuf", "messageType": kind}, data=data)


SEALED = Payload(metadata={"encoding": b"binary/envelope-v1"}, data=b"s")
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b"c")
REFERENCE = Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"r")


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (json_message, [SEALED, CLEAR, REFERENCE]),
        (lambda data: json_message(data, b"mine.Kind"), [SEALED, REFERENCE]),
        (lambda data: Payload(metadata={"encoding": b"json/plain"}, data=data), [SEALED, REFERENCE]),
        (lambda data: Payload(metadata={"encoding": b"binary/plain"}, data=data), []),
    ],
)
def test_messages_in_json_are_searched(holder: Callable[[bytes], Payload], expected: list[Payload]) -> None:
    """As of a batch operation that sends a signal. In what users write in clear, only what is sealed counts."""
    document = {"a": [{"b": MessageToDict(Payloads(payloads=[SEALED, CLEAR, REFERENCE]))}, 7, None, "encoding"]}
    found = list(walk(Payloads(payloads=[holder(json.dumps(document).encode())])))
    assert [one.message for one in found[1:]] == expected
    assert [one.path for one in found[1:]] == [f"payloads[0].message[{number}]" for number in range(len(expected))]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"payloads": 1}'])
def test_json_of_any_form_is_no_error(data: bytes) -> None:
    assert [one.unreadable for one in walk(json_message(data))] == [False]
    broken = data + b' {"encoding"'
    assert [one.unreadable for one in walk(json_message(broken))] == [True]
    assert [one.unreadable for one in walk(json_message(broken, b"mine.Kind"))] == [False]


def test_json_within_json_has_an_end() -> None:
    payload = SEALED
    for _ in range(MAX_WITHIN + 1):
        payload = json_message(json.dumps(MessageToDict(payload)).encode())
    found = list(walk(payload))
    assert [one.within for one in found if one.unreadable] == [MAX_WITHIN]
    assert all(one.message != SEALED for one in found)


def test_the_search_of_bytes_has_an_end() -> None:
    data = Payload(metadata={"encoding": b"json/plain"}).SerializeToString()
    for _ in range(2_000):
        data = Payloads(payloads=[Payload.FromString(b"")]).SerializeToString() + b"\x22" + varint(len(data)) + data
    assert [one.unreadable for one in walk(server_message(data))] == [False]


def varint(number: int) -> bytes:
    taken = b""
    while number > 127:
        taken, number = taken + bytes([number & 127 | 128]), number >> 7
    return taken + bytes([number])


def test_a_message_in_bytes_with_payloads_in_a_field_of_a_later_api_is_unreadable() -> None:
    """What stands in such a field is not found."""
    message = SignalWithStartWorkflowExecutionRequest(namespace="n")
    hidden = Payloads(payloads=[Payload(metadata={"encoding": b"binary/plain"}, data=b"p")]).SerializeToString()
    data = message.SerializeToString() + b"\xe2\x76" + bytes((len(hidden),)) + hidden
    metadata = {
        "encoding": b"binary/protobuf",
        "messageType": SignalWithStartWorkflowExecutionRequest.DESCRIPTOR.full_name.encode(),
        "__temporal_system_payload": b"true",
    }
    [found] = walk(Payload(metadata=metadata, data=data))
    assert found.unreadable
