"""The walk through a protobuf message, which finds its payloads: the one walk of this project.

What a payload is for goes by where it stands, so the walk tells that too. For each message type it knows beforehand
which fields lead to payloads, from the type's own description, and looks at no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import Header, Payload, SearchAttributes
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import MarkerRecordedEventAttributes

from envelope_codec.temporal.nested_message import has_unknown_payloads, inner_message, scan_content
from envelope_codec.temporal.system_payloads import CORE_MARKERS

MAX_WITHIN = 8
"""How many messages that are bytes in one another are entered. Temporal itself never nests two."""


class Role(str, Enum):
    """What a payload is for, as far as it decides whether the payload may be in clear."""

    user = "user data"
    header = "header"
    search_attribute = "search attribute"
    marker = "marker of the SDK's core"


Trail: TypeAlias = "tuple[Trail, str | int] | None"
"""The way to a payload: the last step, and the way before it. A step is a field's name, a key or an index."""


class Found(NamedTuple):
    """Something that the walk found.

    Attributes:
        message: the payload; the failure, whose causes are found as well; or an `Any`, which may hold payloads.
        role: what the payload is for.
        trail: the way to it.
        within: how many messages that are bytes stand around it.
        unreadable: whether it claims to hold a message of Temporal's own that can't be read. What that holds is not
            found then.
    """

    message: Payload | Failure | any_pb2.Any
    role: Role
    trail: Trail
    within: int = 0
    unreadable: bool = False

    @property
    def path(self) -> str:
        """The steps of the way, such as ``input.payloads[0]``."""
        return path_of(self.trail)


def payloads_in(message: Message) -> Iterator[Payload]:
    """Yield every payload in ``message``, at any depth. A payload that is one itself is yielded.

    The payloads are the message's own, and may be changed in place. Messages that are bytes are not entered.
    """
    for found in _collect(message, enter=False):
        if isinstance(found.message, Payload):
            yield found.message


def walk(message: Message, role: Role = Role.user) -> Iterator[Found]:
    """Find every payload and every failure in ``message``.

    Messages that are bytes are entered: those of the system's Nexus endpoint, what a `google.protobuf.Any` holds, and
    what a payload in clear holds as a message in bytes or in JSON, as those of the server's own workflows do.

    Args:
        message: any message.
        role: what payloads in it are for, where nothing else says it.
    """
    return iter(_collect(message, enter=True, role=role))


def role_of(descriptor: Descriptor, otherwise: Role) -> Role:
    """Say what payloads in a message of this type are for."""
    return _ROLES.get(descriptor.full_name, otherwise)


def path_of(trail: Trail) -> str:
    """Write the way down."""
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        steps.append(f"[{step!r}]" if isinstance(step, int) or not step.isidentifier() else f".{step}")
    return "".join(reversed(steps)).removeprefix(".")


def value_type(field: FieldDescriptor) -> Descriptor | None:
    """Return the type of the messages in ``field``: the type of the values, where it is a map."""
    found: Descriptor | None = field.message_type
    if found is not None and found.GetOptions().map_entry:
        found = found.fields_by_name["value"].message_type
    return found


def is_repeated(field: Any) -> bool:
    """Whether ``field`` is a list or a map. Before version 6 protobuf has only ``label``, which version 8 will not."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


# --- the plan of a message type -----------------------------------------------------------------------------------


class _Plan:
    """Which fields of a message type lead to payloads, or are some.

    Attributes:
        choices: by the name of a ``oneof``, its fields.
        singles: the other fields that hold one message.
        lists: the fields that are lists.
        maps: the fields that are maps.
        role: what payloads in it are for, if the type says so.
    """

    __slots__ = ("choices", "is_any", "is_failure", "is_marker", "is_payload", "lists", "maps", "role", "singles")

    def __init__(self, descriptor: Descriptor) -> None:
        name = descriptor.full_name
        self.is_payload, self.is_any = name == _PAYLOAD, name == _ANY
        self.is_failure, self.is_marker = name == _FAILURE, name == _MARKER
        self.role = _ROLES.get(name)
        self.choices: dict[str, dict[str, _Plan]] = {}
        self.singles: list[tuple[str, _Plan]] = []
        self.lists: list[tuple[str, _Plan]] = []
        self.maps: list[tuple[str, _Plan]] = []


_PAYLOAD, _FAILURE, _MARKER, _ANY = (
    kind.DESCRIPTOR.full_name for kind in (Payload, Failure, MarkerRecordedEventAttributes, any_pb2.Any)
)
_TARGETS = frozenset((_PAYLOAD, _FAILURE, _ANY))
_ROLES = {SearchAttributes.DESCRIPTOR.full_name: Role.search_attribute, Header.DESCRIPTOR.full_name: Role.header}
_PLANS: dict[str, _Plan] = {}
"""By full name. Written whole, and the same whoever writes: no lock is needed."""


def _plan_of(descriptor: Any) -> _Plan:
    plan = _PLANS.get(descriptor.full_name)
    if plan is None:
        made = dict(_PLANS)
        plan = _make_plan(descriptor, made)
        _PLANS.update(made)  # only now: no other thread ever sees a plan that is half made
    return plan


def _make_plan(descriptor: Descriptor, made: dict[str, _Plan]) -> _Plan:
    if descriptor.full_name in made:
        return made[descriptor.full_name]
    plan = made[descriptor.full_name] = _Plan(descriptor)
    if plan.is_payload or plan.is_any:
        return plan
    for field in descriptor.fields:
        inner = value_type(field)
        if inner is None or not _leads_on(inner, set()):
            continue
        further = _make_plan(inner, made)
        if is_repeated(field):
            is_map = field.message_type is not None and field.message_type is not inner
            (plan.maps if is_map else plan.lists).append((field.name, further))
        elif field.containing_oneof is not None:
            plan.choices.setdefault(field.containing_oneof.name, {})[field.name] = further
        else:
            plan.singles.append((field.name, further))
    return plan


def _leads_on(descriptor: Descriptor, seen: set[str]) -> bool:
    if descriptor.full_name in _TARGETS:
        return True
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    inner = (value_type(field) for field in descriptor.fields)
    return any(_leads_on(one, seen) for one in inner if one is not None)


# --- the walk -----------------------------------------------------------------------------------------------------


def _collect(message: Message, *, enter: bool, role: Role = Role.user) -> list[Found]:
    found: list[Found] = []
    _visit(message, _plan_of(message.DESCRIPTOR), role, None, found, 0)
    if enter:
        _enter_all(found)
    return found


def _enter_all(found: list[Found]) -> None:
    """Add what stands in messages that are bytes. The list grows while it is gone through: their insides count too."""
    for index, one in enumerate(found):
        if isinstance(one.message, Failure):
            continue
        try:
            inner = inner_message(one.message)
            if inner is None:
                _add_scanned(one, found)
                continue
            if one.within == MAX_WITHIN or has_unknown_payloads(inner):
                raise DecodeError
        except DecodeError:
            found[index] = one._replace(unreadable=True)
            continue
        _visit(inner, _plan_of(inner.DESCRIPTOR), one.role, (one.trail, "message"), found, one.within + 1)


def _add_scanned(holder: Found, found: list[Found]) -> None:
    """Add the payloads in what a payload holds in clear. Raise DecodeError if that can't be read."""
    if isinstance(holder.message, Payload):
        for number, one in enumerate(scan_content(holder.message)):
            if holder.within == MAX_WITHIN:
                raise DecodeError
            found.append(Found(one, holder.role, ((holder.trail, "message"), number), holder.within + 1))


def _visit(message: Any, plan: _Plan, role: Role, trail: Trail, found: list[Found], within: int) -> None:
    if plan.is_payload or plan.is_any:
        found.append(Found(message, role, trail, within))
        return
    if plan.is_failure:
        found.append(Found(message, role, trail, within))
    if plan.role is not None:
        role = plan.role
    for name, choice in plan.choices.items():
        chosen = message.WhichOneof(name)
        further = choice.get(chosen)
        if further is not None:
            _visit(getattr(message, chosen), further, role, (trail, chosen), found, within)
    for name, further in plan.singles:
        if message.HasField(name):
            _visit(getattr(message, name), further, role, (trail, name), found, within)
    for name, further in plan.lists:
        here = (trail, name)
        for index, one in enumerate(getattr(message, name)):
            _visit(one, further, role, (here, index), found, within)
    for name, further in plan.maps:
        here = (trail, name)
        core = CORE_MARKERS.get(message.marker_name) if plan.is_marker else None
        for key, one in getattr(message, name).items():
            its_role = Role.marker if key == core else role
            _visit(one, further, its_role, (here, key), found, within)
