"""The assertion of a test that Temporal got nothing in clear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from google.protobuf.message import Message
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from envelope_codec.cli.demo.search import Needles
from envelope_codec.cli.payloads.kind import Kind, judge
from envelope_codec.cli.payloads.location import Location
from envelope_codec.cli.payloads.walk import locations_in_message
from envelope_codec.temporal.payload_walk import Role

_SHOWN = 10  # places that the text of a failed assertion names


class InClear(NamedTuple):
    """Something that Temporal can read and should not.

    Attributes:
        where: the path to it, such as ``event 5: activityTaskScheduledEventAttributes.input.payloads[0]``.
        what: the payload's encoding, ``failure``, or why the payload is none.
    """

    where: str
    what: str


def find_in_clear(told: WorkflowHistory | Message, *, headers: bool = True) -> list[InClear]:
    """Find payloads that are not sealed, and failures whose message or stack trace is in clear. Decrypts nothing.

    What Temporal's server and the SDK's core write themselves does not count, nor do search attributes, which Temporal
    has to read. What a legacy codec has sealed counts.

    Args:
        told: a history, or any message of Temporal's API, such as ``(await handle.describe()).raw_description``.
        headers: whether headers have to be sealed. False where the setting ``headers`` is.
    """
    return _find(_locations(told), headers=headers)


def assert_nothing_in_clear(
    told: WorkflowHistory | Message, *, secrets: Iterable[str] = (), headers: bool = True, may_be_empty: bool = False
) -> None:
    """Fail unless all that Temporal was ``told`` is sealed.

    Args:
        told: a history, or any message of Temporal's API.
        secrets: texts that must stand nowhere in it, as UTF-8 or as base64: not in ids, names of types, search
            attributes and the like either, which no plugin seals. Each has 8 bytes or more.
        headers: whether headers have to be sealed. False where the setting ``headers`` is.
        may_be_empty: whether it may hold no sealed payload at all. Without one the assertion would show nothing.

    Raises:
        AssertionError: something is in clear. The text says where, and repeats nothing of it.
        ValueError: a secret is too short to be searched for.
    """
    wanted = tuple(secrets)
    if any(len(secret.encode()) < 8 for secret in wanted):
        raise ValueError("a secret needs 8 bytes or more: a shorter text may stand there by chance")
    locations = list(_locations(told))
    found = _find(locations, headers=headers)
    if found:
        kinds = ", ".join(f"{count} {what}" for what, count in Counter(one.what for one in found).most_common())
        shown = "".join(f"\n  {one.where}: {one.what}" for one in found[:_SHOWN])
        more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise AssertionError(f"Temporal can read what should be sealed: {kinds}{shown}{more}")
    if not may_be_empty and not any(
        location.payload is not None and judge(location).kind is Kind.envelope for location in locations
    ):
        raise AssertionError("there is no sealed payload, so this shows nothing: was the plugin given to the client?")
    held = Needles(wanted)
    places = [where for where, message in _messages(told) if held.find_in(message.SerializeToString())]
    if places:
        raise AssertionError(
            f"Temporal can read a secret, in {', '.join(places[:_SHOWN])}: look at ids, names and search attributes, "
            "which are never sealed"
        )


def _messages(told: WorkflowHistory | Message) -> Iterator[tuple[str, Message]]:
    if isinstance(told, WorkflowHistory):
        for event in told.events:
            yield f"event {event.event_id}", event
    elif isinstance(told, HistoryEvent):
        yield f"event {told.event_id}", told
    else:
        yield told.DESCRIPTOR.name, told


def _locations(told: WorkflowHistory | Message) -> Iterator[Location]:
    for place, message in _messages(told):
        for location in locations_in_message(message):
            yield Location(f"{place}: {location.path}", location.payload, location.defect, location.role)


def _find(locations: Iterable[Location], *, headers: bool) -> list[InClear]:
    wanted = (location for location in locations if headers or location.role is not Role.header)
    return [found for found in map(_judge, wanted) if found is not None]


def _judge(location: Location) -> InClear | None:
    if location.is_failure:
        return InClear(location.path, "failure")
    verdict = judge(location)
    if verdict.kind in (Kind.envelope, Kind.temporal):
        return None
    named = verdict.encoding if verdict.kind is Kind.clear else f"{verdict.kind.value} {verdict.why}".strip()
    return InClear(location.path, named or "no encoding")
