"""What stood in each row of Temporal's surface while clients and workers that encrypt talked to a real server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from google.protobuf import message_factory
from google.protobuf.message import Message
from temporalio.api.operatorservice.v1 import service_pb2 as operatorservice
from temporalio.api.workflowservice.v1 import service_pb2 as workflowservice

from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.payload_walk import payloads_in
from tests.support.surface_rows import Row, seen_in

_METHODS = {
    method.name: method
    for service in (
        workflowservice.DESCRIPTOR.services_by_name["WorkflowService"],
        operatorservice.DESCRIPTOR.services_by_name["OperatorService"],
    )
    for method in service.methods
}


class Seen(NamedTuple):
    """Rows by what stood there.

    Attributes:
        any: in which anything stood.
        sealed: in which an envelope stood, or a failure whose words are in one.
        clear: in which another payload stood.
        tests: whose calls are counted in.
    """

    any: set[Row]
    sealed: set[Row]
    clear: set[Row]
    tests: set[str]

    def add(self, test: str, calls: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Add what stood in the requests and the answers of calls, see `GrpcRecorder`."""
        self.tests.add(test)
        for message in _messages(calls):
            for row, carried in seen_in(message):
                self.any.add(row)
                for payload in payloads_in(carried):
                    (self.sealed if is_envelope(payload) else self.clear).add(row)


def nothing_seen() -> Seen:
    return Seen(set(), set(), set(), set())


def _messages(calls: Iterable[tuple[str, bytes, bytes]]) -> Iterator[Message]:
    for name, request, answer in calls:
        if name in _METHODS:
            for kind, data in ((_METHODS[name].input_type, request), (_METHODS[name].output_type, answer)):
                yield message_factory.GetMessageClass(kind).FromString(data)
