"""One way through a corner of Temporal, and the search for marks in everything that the server then tells of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError

from envelope_codec.cli.demo.search import Needles
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from tests.support.server_records import runs
from tests.support.surface_marks import mark

ATTRIBUTE = SearchAttributeKey.for_keyword("poppyAttribute")


async def define_attribute(plain: Client) -> None:
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    request = AddSearchAttributesRequest(namespace=plain.namespace, search_attributes={ATTRIBUTE.name: keyword})
    with suppress(RPCError):  # it is there already
        await plain.operator_service.add_search_attributes(request)


class Walk:
    """One way through a corner of Temporal.

    Attributes:
        client: whose data it is; seals it, or does not.
        plain: a client of the same namespace that knows nothing of encryption; asks what the server has.
        name: task queue, and beginning of all ids.
        secret: stands in all user data.
        public: stands in what Temporal may read.
        told: what the server told of it.
        own: what the server told of its own workflows, which have payloads of their own in clear.
    """

    def __init__(self, client: Client, plain: Client, name: str, secret: str, public: str) -> None:
        self.client, self.plain, self.name, self.secret, self.public = client, plain, name, secret, public
        self.told: list[Message] = []
        self.own: list[Message] = []

    def found(self, needles: Needles) -> set[str]:
        """What of ``needles`` is in anything that the server told."""
        messages = (*self.told, *self.own)
        return set[str]().union(*(needles.find_in(message.SerializeToString()) for message in messages))

    def hidden(self, where: str) -> str:
        return mark(self.secret, where)

    def readable(self, where: str) -> str:
        return mark(self.public, where)

    async def keep_runs(self, expected: int, plain: Client | None = None) -> None:
        """Keep history, description and list entry of every workflow run whose id starts with the name."""
        for run in await runs(plain or self.plain, self.name, expected):
            self.told += [*run.history.events, run.description, WorkflowExecutionInfo.FromString(run.listed)]


class Corner(NamedTuple):
    """A corner of Temporal.

    Attributes:
        walk: goes through it and checks that every side gets what was meant for it.
        hidden: where its user data is, each with a mark.
        readable: where else marks are, which Temporal may read.
        names: of workflows, operations and so on, which Temporal may read, and which are the same in every run.
        in_clear: kinds of payloads that are not sealed, see `kinds_in_clear`.
    """

    walk: Callable[[Walk], Awaitable[None]]
    hidden: Sequence[str]
    readable: Sequence[str] = ()
    names: Sequence[str] = ()
    in_clear: frozenset[str] = frozenset()


def marks_found(walk: Walk, corner: Corner) -> tuple[set[str], set[str]]:
    """Where marks of user data were found in what the server told, and where others."""
    hidden = {walk.hidden(where): where for where in corner.hidden}
    readable = {**{walk.readable(where): where for where in corner.readable}, **{name: name for name in corner.names}}
    needles = Needles([*hidden, *readable])
    found = walk.found(needles)
    return {hidden[text] for text in found & set(hidden)}, {readable[text] for text in found & set(readable)}


def kinds_in_clear(messages: Iterable[Message]) -> set[str]:
    """What the payloads are that no codec has sealed; a payload that should not be in clear by its metadata."""
    return {kind for message in messages for kind in _in_clear(message)}


def _in_clear(message: Message) -> Iterator[str]:
    for payload, place in _payloads(message, ""):
        if is_envelope(payload):
            continue
        kind = payload.metadata.get("messageType", b"").decode().rpartition(".")[2]
        if place:
            yield place
        elif kind == SignalWithStartWorkflowExecutionRequest.DESCRIPTOR.name:
            yield kind
            yield from _in_clear(SignalWithStartWorkflowExecutionRequest.FromString(payload.data))
        else:
            yield kind or str(dict(payload.metadata))


def _payloads(message: Message, place: str) -> Iterator[tuple[Payload, str]]:
    """Every payload in a message at any depth, and the name of the place where Temporal's own are."""
    if isinstance(message, Payload):
        yield message, place
        return
    if isinstance(message, HistoryEvent) and message.HasField("marker_recorded_event_attributes"):
        marker = message.marker_recorded_event_attributes
        for name, payloads in marker.details.items():
            for payload in payloads.payloads:
                yield payload, f"{marker.marker_name} {name}"
        for payload in payloads_in(marker.failure):
            yield payload, place
        return
    if isinstance(message, SearchAttributes):
        place = "search attribute"
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = value.values() if field.message_type.fields_by_name["value"].message_type else ()
        else:
            inner = [value] if isinstance(value, Message) else value
        for one in inner:
            yield from _payloads(one, place)
