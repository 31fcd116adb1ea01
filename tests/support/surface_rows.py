"""Every place in Temporal's API where a payload or a failure can stand, from the descriptors of the installed SDK.

A row is a message and the way in it to what carries payloads: ``StartWorkflowExecutionRequest``, ``input``. The ways
end at what has rows of its own, so that an event that is new, or a field of one, is one new row and not one in each
reply that has a history.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from envelope_codec.temporal.nested_message import inner_message
from envelope_codec.temporal.payload_walk import is_repeated, value_type
from tests.support.api_messages import TYPES

API = "temporal.api."
SERVICES = ("workflowservice", "operatorservice", "cloud.cloudservice", "testservice")
ROOTS = (
    "temporal.api.history.v1.HistoryEvent",
    "temporal.api.command.v1.Command",
    *(f"temporal.api.update.v1.{name}" for name in ("Request", "Response", "Acceptance", "Rejection")),
    "temporal.api.notificationservice.v1.OnCompleteRequest",
    "coresdk.workflow_activation.WorkflowActivation",
    "coresdk.workflow_completion.WorkflowActivationCompletion",
    "coresdk.activity_task.ActivityTask",
    "coresdk.ActivityTaskCompletion",
    "coresdk.ActivityHeartbeat",
    "coresdk.nexus.NexusTask",
    "coresdk.nexus.NexusTaskCompletion",
    "temporal.api.failure.v1.Failure",
    "temporal.api.nexus.v1.Failure",
    "temporal.api.sdk.v1.UserMetadata",
    "temporal.api.sdk.v1.EventGroupMarker",
)
"""What has rows of its own, beside the requests and replies of `SERVICES`: events, commands, what the SDK's core and
its Python part tell each other, messages that are bytes in others, and what carries payloads in fields of its own.
"""

ENDS = frozenset(
    {
        *(f"temporal.api.common.v1.{n}" for n in ("Payload", "Payloads", "Header", "Memo", "SearchAttributes")),
        "temporal.api.common.v1.DataBlob",
        "temporal.api.failure.v1.Failure",
        "temporal.api.nexus.v1.Failure",
        "temporal.api.sdk.v1.UserMetadata",
        "temporal.api.sdk.v1.EventGroupMarker",
        "temporal.api.history.v1.HistoryEvent",
        "temporal.api.command.v1.Command",
        "google.protobuf.Any",
    }
)
"""Where ways end."""

PAGE = Path(__file__).resolve().parents[2] / "docs" / "temporal-surface.md"
VERDICTS = ("sealed", "readable", "not sent by this SDK", "server only", "see")


class Row(NamedTuple):
    """A place where a payload or a failure can stand: a message's name, and the fields on the way."""

    message: str
    path: str


def short(full: str) -> str:
    """The name of a message on the page: with the service or the package, if it is not one of the main service."""
    full = full.removeprefix(API)
    if full.startswith("coresdk."):
        return f"core.{full.rpartition('.')[2]}"
    package, _, name = full.rpartition(".v1.")
    if package in ("workflowservice", "history", "command", "failure", "sdk"):
        return name
    return f"{package.rpartition('.')[2]}.{name}"


@cache
def rooted() -> dict[str, Descriptor]:
    """The messages that have rows, by their names on the page."""
    found: dict[str, Descriptor] = {}
    for package in SERVICES:
        module = importlib.import_module(f"temporalio.api.{package}.v1.service_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found |= {short(kind.full_name): kind for kind in (method.input_type, method.output_type)}
    return found | {short(name): TYPES[name] for name in ROOTS}


def ways(kind: Descriptor, above: tuple[str, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The ways down to what carries payloads, through no type twice."""
    for field in kind.fields:
        inner = value_type(field)
        if inner is None or inner.full_name in above:
            continue
        if inner.full_name in ENDS:
            yield (field,)
        else:
            yield from ((field, *rest) for rest in ways(inner, (*above, kind.full_name)))


def rows() -> dict[Row, str]:
    """All rows of the installed SDK, and the type that stands at the end of each."""
    found = {}
    for name, kind in rooted().items():
        for way in ways(kind):
            end = value_type(way[-1])
            assert end is not None
            found[Row(name, ".".join(field.name for field in way))] = end.full_name
    return found


def seen_in(message: Message) -> Iterator[tuple[Row, Message]]:
    """Each row of which something stands in ``message``, with what stands there. Rows in what it holds are told too."""
    yield from _seen(message, short(message.DESCRIPTOR.full_name), ())


def _seen(message: Message, root: str, path: tuple[str, ...]) -> Iterator[tuple[Row, Message]]:
    for field, value in message.ListFields():
        inner = value_type(field)
        if inner is None:
            continue
        for one in _all(field, value):
            if inner.full_name not in ENDS:
                yield from _seen(one, root, (*path, field.name))
                continue
            yield Row(root, ".".join((*path, field.name))), one
            further = inner_message(one) if isinstance(one, AnyMessage) else one
            if further is not None and (name := short(further.DESCRIPTOR.full_name)) in rooted():
                yield from _seen(further, name, ())


def _all(field: FieldDescriptor, value: Any) -> Iterable[Any]:
    if not is_repeated(field):
        return (value,)
    every: Iterable[Any] = value.values() if hasattr(value, "values") else value
    return every


class Page(NamedTuple):
    """What the page says.

    Attributes:
        verdicts: by row.
        patterns: verdicts of all rows whose message fits a pattern with a ``*``, and whose way is this one.
    """

    verdicts: dict[Row, str]
    patterns: dict[Row, str]

    def verdict(self, row: Row) -> str | None:
        """What becomes of what stands there; None if the page does not say."""
        if row in self.verdicts:
            return self.verdicts[row]
        fitting = [said for pattern, said in self.patterns.items() if fits(row, pattern)]
        return fitting[0] if fitting else None


def fits(row: Row, pattern: Row) -> bool:
    """Whether a row is one of those that ``pattern`` stands for."""
    return row.path == pattern.path and bool(re.fullmatch(pattern.message.replace("*", "[A-Za-z]*"), row.message))


def read_page(text: str) -> Page:
    """Read the tables of the page: a message, its fields, and the verdict.

    Raises:
        AssertionError: a row is there twice.
    """
    page = Page({}, {})
    for message, fields, verdict in re.findall(r"^\| `([\w.*]+)` \| ((?:`[\w.]+` ?)+)\| (.+?) \|$", text, re.MULTILINE):
        for path in re.findall(r"`([\w.]+)`", fields):
            row = Row(message, path)
            into = page.patterns if "*" in message else page.verdicts
            assert row not in into, f"{row} is on the page twice"
            into[row] = verdict
    return page
