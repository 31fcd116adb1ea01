"""Counting what one workflow, schedule or the like holds, message by message."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from envelope_codec.cli.audit.tally import OTHERS, OURS, Tally, count_name
from envelope_codec.cli.payloads.claim import claim_of
from envelope_codec.cli.payloads.failure import tells_in_clear
from envelope_codec.cli.payloads.kind import Kind, judge
from envelope_codec.cli.payloads.location import Location
from envelope_codec.cli.reading.reader import Source, SourceKind
from envelope_codec.envelope import ENCODING_FAMILY, NAME_ENCODING, Record
from envelope_codec.storage.reference import is_encoded_reference
from envelope_codec.temporal.nested_message import count_mentions, has_unknown_payloads
from envelope_codec.temporal.payload_walk import Found, Role, walk
from envelope_codec.temporal.system_payloads import is_reference

_READABLE = frozenset(("", "json/plain", "json/protobuf", "binary/plain", "binary/protobuf", "binary/null"))
"""The encodings in which Temporal's SDKs write data that anybody can read."""

FOREIGN = "foreign"
"""The kind of a payload with another encoding. Whether that hides anything, nobody can tell."""

HIDDEN = "data that names an envelope, in a form that can't be read"
"""Of what is unreadable: somebody has wrapped an envelope into something else."""

UNKNOWN_FIELD = "payloads in a field that this release does not know"
"""Of what is unreadable: the server is newer than the API installed here."""

_DIVISION = "TemporalNamespaceDivision"
_TYPE_OF_SERVER = "temporal-sys-"


class Count:
    """The count of one source.

    A payload that the source holds several times counts once, such as a memo: it is in the history, and the server
    lists and describes it besides.

    Args:
        source: what is counted.
        note: is given the record of each envelope.
    """

    def __init__(self, source: Source, note: Callable[[Record], None] | None = None) -> None:
        self.tally = Tally()
        self._note = note
        self._source = source
        self._seen: set[bytes] = set()
        self._is_servers = is_servers(source)

    def add(self, message: Message) -> None:
        """Count what ``message`` holds."""
        for found in walk(message):
            if isinstance(found.message, Failure):
                self._add_failure(found)
            elif isinstance(found.message, Payload):
                self._add_payload(found.message, found)
        if has_unknown_payloads(message):
            self.tally.kinds[Kind.malformed.value] += 1
            self._note_unreadable(UNKNOWN_FIELD, f"{self._name}: {message.DESCRIPTOR.name}")

    def end(self) -> Tally:
        """Return the tally of the whole source."""
        close: Any = getattr(self._source.listed, "close_time", None)
        self.tally.end_source(self._source.id, close.ToNanoseconds() / 1e9 if self._source.ended and close else 0.0)
        return self.tally

    def _is_new(self, message: Message) -> bool:
        digest = blake2b(message.SerializeToString(deterministic=True), digest_size=16).digest()
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True

    def _add_failure(self, found: Found) -> None:
        failure: Any = found.message
        told = {name: getattr(failure, name) for name in ("message", "source", "stack_trace")}
        for name in ("encoded_attributes", "reset_workflow_failure_info"):
            told[name] = True if failure.HasField(name) else None
        if tells_in_clear(told) and self._is_new(failure):
            self.tally.failures += 1
            self.tally.note_clear(self._place(found))

    def _add_payload(self, payload: Payload, found: Found) -> None:
        if not self._is_new(payload):
            return
        if found.unreadable:
            self.tally.kinds[Kind.malformed.value] += 1
            self._note_unreadable("a message of Temporal's own that can't be read", self._place(found))
            return
        self._judge(payload, found.role, self._place(found), is_within=found.within > 0)
        if is_encoded_reference(payload):
            self.tally.behind[OURS] += 1
        elif is_reference(payload):
            claim = claim_of(payload)
            self.tally.behind[OTHERS if claim is None else OURS] += 1
            if claim is not None:
                self._judge(claim, found.role, self._place(found), is_within=True)

    def _judge(self, payload: Payload, role: Role, place: str, *, is_within: bool) -> None:
        verdict = judge(Location(place, payload, role=role))
        kind: Kind | str = verdict.kind
        if kind is Kind.clear and self._is_servers and not is_within:
            kind = Kind.temporal  # what the server's own workflow notes for itself
        elif kind is Kind.clear and verdict.encoding not in _READABLE:
            kind = FOREIGN
        self.tally.kinds[kind.value if isinstance(kind, Kind) else kind] += 1
        if verdict.envelope is None and _may_hide_envelope(payload):
            self._note_unreadable(HIDDEN, place)
        if verdict.envelope is not None:
            self.tally.add_record(verdict.envelope.record)
            if self._note is not None:
                self._note(verdict.envelope.record)
        elif kind is Kind.clear:
            count_name(self.tally.clear, verdict.encoding or "no encoding")
            self.tally.note_clear(place)
        elif kind == FOREIGN or kind is Kind.legacy:
            count_name(self.tally.foreign, verdict.encoding)
            self.tally.note_place(verdict.encoding, place)
            if verdict.proxy_key:
                self.tally.add_proxied(verdict.proxy_key)
        elif kind in (Kind.malformed, Kind.later_version):
            self._note_unreadable(verdict.why, place)

    def _note_unreadable(self, why: str, place: str) -> None:
        count_name(self.tally.unreadable, why)
        self.tally.note_place(why, place)

    def _place(self, found: Found) -> str:
        return f"{self._name}: {found.path}"

    @property
    def _name(self) -> str:
        return f"{self._source.kind.value} {self._source.id!r}"


def is_servers(source: Source) -> bool:
    """Whether ``source`` is a workflow of the server's own, as of a schedule or a batch operation.

    Users may give their workflows a division as well.
    """
    listed: Any = source.listed
    return (
        source.kind is SourceKind.workflow
        and _DIVISION in listed.search_attributes.indexed_fields
        and listed.type.name.startswith(_TYPE_OF_SERVER)
    )


def _may_hide_envelope(payload: Payload) -> bool:
    """Whether the data of a payload that is no envelope names more envelopes than the walk finds in it.

    The envelope in a reference to external storage is counted as its claim.
    """
    mentions = 0 if is_reference(payload) else count_mentions(payload.data)
    return mentions > 0 and mentions > sum(_names_envelope(one) for one in walk(payload) if one.within)


def _names_envelope(found: Found) -> bool:
    if not isinstance(found.message, Payload):
        return False
    is_of_family = found.message.metadata.get(NAME_ENCODING, b"").startswith(ENCODING_FAMILY)
    return is_of_family or is_reference(found.message)
