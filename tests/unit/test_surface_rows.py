"""The page of Temporal's surface has a row for every place of a payload or a failure, and says what is so."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Header, Memo, Payload, Payloads, SearchAttributes
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import EventGroupMarker, UserMetadata
from temporalio.api.update.v1 import Acceptance, Input, Request
from temporalio.bridge.worker import decode_activation, encode_completion

from envelope_codec import EnvelopeCodec, envelope_data_converter
from envelope_codec.config import EnvelopeConfig
from envelope_codec.temporal.payload_walk import Role, is_repeated, payloads_in, walk
from envelope_codec.temporal.sealed_payload import is_sealed
from envelope_codec.testing import FakeKms
from tests.support.surface_rows import PAGE, VERDICTS, Row, fits, read_page, rooted, rows, seen_in, ways

ROWS = rows()
PAGE_NOW = read_page(PAGE.read_text("utf-8"))


def test_every_place_of_a_payload_is_on_the_page() -> None:
    new = [f"| `{row.message}` | `{row.path}` | … |" for row in ROWS if PAGE_NOW.verdict(row) is None]
    assert not new, "\n".join(
        [
            "this SDK's API has places for payloads that docs/temporal-surface.md does not tell of. Find out who sends",
            "them and whether the plugin seals them, mend the plugin if it should, and add these rows:",
            *new,
        ]
    )


def test_the_page_has_no_row_that_is_not_needed() -> None:
    gone = [row for row in PAGE_NOW.verdicts if row not in ROWS]
    gone += [one for one in PAGE_NOW.patterns if not any(fits(row, one) for row in ROWS)]
    assert not gone, "this SDK's API has no such places (any longer): take these from docs/temporal-surface.md"


def test_a_new_place_and_one_that_is_gone_would_be_seen() -> None:
    text, row = PAGE.read_text("utf-8"), "| `UserMetadata` | `summary` `details` | sealed |"
    assert row in text
    page = read_page(text.replace(row, "| `UserMetadata` | `summary` `more` | sealed |"))
    assert page.verdict(Row("UserMetadata", "details")) is None
    assert [one for one in page.verdicts if one not in ROWS] == [Row("UserMetadata", "more")]
    with pytest.raises(AssertionError, match="twice"):
        read_page(f"{text}\n{row}\n")


def test_verdicts_are_of_one_kind_each() -> None:
    for row, said in (PAGE_NOW.verdicts | PAGE_NOW.patterns).items():
        kind, _, why = said.partition(": ")
        if kind.startswith("see "):
            assert kind[4:].strip("`") in rooted(), row
        else:
            assert kind in VERDICTS, row
            assert why or kind not in ("readable", "server only"), f"{row}: why?"


def test_all_services_and_their_events_are_gone_through() -> None:
    messages = {row.message for row in ROWS}
    assert len(ROWS) > 400
    assert {"StartWorkflowExecutionRequest", "HistoryEvent", "Command", "core.WorkflowActivation"} <= messages
    assert {"operatorservice.CreateNexusEndpointRequest", "cloudservice.CreateNexusEndpointRequest"} <= messages


def test_search_attributes_are_the_only_payloads_of_workers_in_clear() -> None:
    """Whatever else goes from a worker or a client to the server is sealed, or is not sent."""
    clear = {row for row, said in PAGE_NOW.verdicts.items() if said.startswith("readable")}
    assert {ROWS[row] for row in clear if row.path != "groups.group_values"} == {SearchAttributes.DESCRIPTOR.full_name}


def test_the_walk_through_messages_finds_what_stands_in_any_place() -> None:
    """Whoever searches for payloads (audits, the codec server, checks of what workflows send) sees all of them."""
    for row in ROWS:
        message = filled(row)
        assert next(seen for seen, _ in seen_in(message)) == row
        found = [one for one in walk(message) if one.message == PAYLOAD]
        if ROWS[row].endswith(("DataBlob", "nexus.v1.Failure")):
            assert found == [], "there is none: bytes of events, and a failure as JSON"
            continue
        assert found, row
        end = ROWS[row].rpartition(".")[2]
        role = {"Header": Role.header, "SearchAttributes": Role.search_attribute}.get(end, Role.user)
        assert {one.role for one in found} == {role}, row


async def test_what_a_workflow_sends_is_sealed_in_any_place() -> None:
    converter = envelope_data_converter(EnvelopeConfig(key=FakeKms()))
    for row in sealed_of("core.WorkflowActivationCompletion"):
        completion = filled(row)
        assert PAYLOAD in payloads_in(completion)
        await encode_completion(completion, converter, encode_headers=True, storage_concurrency_limit=1)
        assert all(map(is_sealed, payloads_in(completion))), row


async def test_what_a_workflow_gets_is_opened_in_any_place() -> None:
    config = EnvelopeConfig(key=FakeKms(), require_encryption=True)
    codec, converter = EnvelopeCodec(config), envelope_data_converter(config)
    [envelope] = await codec.encode([PAYLOAD])
    for row in sealed_of("core.WorkflowActivation"):
        activation = filled(row)
        for payload in payloads_in(activation):
            payload.CopyFrom(envelope)
        await decode_activation(activation, converter, True, 1)
        assert all(payload == PAYLOAD for payload in payloads_in(activation)), row


def sealed_of(message: str) -> list[Row]:
    found = [row for row in ROWS if row.message == message and (PAGE_NOW.verdict(row) or "").startswith("sealed")]
    assert len(found) > 20
    return found


def packed(message: Message) -> AnyMessage:
    made = AnyMessage()
    made.Pack(message)
    return made


PAYLOAD = Payload(metadata={"encoding": b"json/plain"}, data=b'"p"')
CARRIED: dict[str, Message] = {
    one.DESCRIPTOR.full_name: one
    for one in (
        PAYLOAD,
        Payloads(payloads=[PAYLOAD]),
        Header(fields={"n": PAYLOAD}),
        Memo(fields={"n": PAYLOAD}),
        SearchAttributes(indexed_fields={"n": PAYLOAD}),
        Failure(encoded_attributes=PAYLOAD),
        UserMetadata(summary=PAYLOAD, details=PAYLOAD),
        EventGroupMarker(label=EventGroupMarker.Label(id="i", label=PAYLOAD)),
        HistoryEvent(user_metadata=UserMetadata(summary=PAYLOAD)),
        Command(user_metadata=UserMetadata(summary=PAYLOAD)),
        packed(Acceptance(accepted_request=Request(input=Input(args=Payloads(payloads=[PAYLOAD]))))),
    )
}
"""What carries payloads, with some in it."""


def filled(row: Row) -> Any:
    """A message with something at the row's place."""
    kind = rooted()[row.message]
    [way] = [way for way in ways(kind) if ".".join(field.name for field in way) == row.path]
    made = message_factory.GetMessageClass(kind)()
    put(made, way, CARRIED.get(ROWS[row]))
    return made


def put(message: Any, way: tuple[FieldDescriptor, ...], carried: Message | None) -> None:
    """Put something at the end of a way: where ``carried`` is None, an empty message."""
    for field in way:
        value, kind = getattr(message, field.name), field.message_type
        assert kind is not None
        if kind.GetOptions().map_entry:
            name = kind.fields_by_name["key"]
            message = value["n" if name.cpp_type == name.CPPTYPE_STRING else 1]
        elif is_repeated(field):
            message = value.add()
        else:
            value.SetInParent()
            message = value
    if carried is not None:
        message.CopyFrom(carried)
