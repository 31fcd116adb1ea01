"""The types of messages of Temporal's API, and every way in them that leads to a payload."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import temporalio.api
import temporalio.bridge.proto
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

PAYLOAD = Payload.DESCRIPTOR.full_name


def message_types() -> Iterator[Descriptor]:
    """Every type of message in the packages of the API and of the SDK's core that can be imported."""
    files = {}
    for package in (temporalio.api, temporalio.bridge.proto):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            try:
                found = importlib.import_module(module.name)
            except ImportError:  # the SDK ships some packages without what they depend on
                continue
            if hasattr(found, "DESCRIPTOR"):
                files[found.DESCRIPTOR.name] = found.DESCRIPTOR
    for file in files.values():
        yield from with_nested(file.message_types_by_name.values())


def with_nested(kinds: Any) -> Iterator[Descriptor]:
    for kind in kinds:
        if not kind.GetOptions().map_entry:
            yield kind
            yield from with_nested(kind.nested_types)


Way = tuple[FieldDescriptor, ...]


def ways(kind: Descriptor, above: tuple[str, ...] = ()) -> Iterator[Way]:
    """All ways from a type down to a payload that pass no type twice, but for a failure that causes another."""
    if above.count(kind.full_name) > (kind.full_name == Failure.DESCRIPTOR.full_name):
        return
    for field in kind.fields:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            inner = inner.fields_by_name["value"].message_type
        if inner is None:
            continue
        if inner.full_name == PAYLOAD:
            yield (field,)
        else:
            yield from ((field, *rest) for rest in ways(inner, (*above, kind.full_name)))


def go(message: Any, way: Way, payload: Payload) -> None:
    """Put ``payload`` at the end of ``way``, and another step everywhere that the way allows it."""
    for field in way:
        value, kind = getattr(message, field.name), field.message_type
        assert kind is not None
        if kind.GetOptions().map_entry:
            name = kind.fields_by_name["key"]
            message = value["key" if name.cpp_type == name.CPPTYPE_STRING else 1]
        elif hasattr(value, "add"):
            message = value.add()
        else:
            value.SetInParent()
            message = value
    message.CopyFrom(payload)


TYPES = {kind.full_name: kind for kind in message_types()}
HOLDERS = {name: list(ways(kind)) for name, kind in TYPES.items() if name != PAYLOAD}
