"""What a payload is: an envelope, a malformed one, or something in clear."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from envelope_codec.cli.inspection.place import Place, Role
from envelope_codec.envelope import ENCODING, ENCODING_FAMILY, NAME_ENCODING, Envelope, parse
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.temporal.system_payloads import describe_clear_payload

LEGACY_ENCODING = b"binary/encrypted"
"""Of what the codec in Temporal's samples seals, with one static key."""


class Kind(str, Enum):
    """The kinds, by the names that programs read."""

    envelope = "envelope"
    malformed = "malformed"
    later_version = "later-version"
    legacy = "legacy"
    temporal = "temporal"
    clear = "clear"


@dataclass(frozen=True)
class Verdict:
    """What a payload is.

    Attributes:
        kind: the kind.
        encoding: the payload's own; empty where it has none.
        why: of what is malformed or of a later version, the reason; of what Temporal writes in clear, its name.
        envelope: the envelope, if it is one.
    """

    kind: Kind
    encoding: str
    why: str = ""
    envelope: Envelope | None = None


def judge(place: Place) -> Verdict:
    """What the payload at ``place`` is. Nothing is decrypted, and nobody is asked."""
    payload = place.payload
    if payload is None:
        return Verdict(Kind.malformed, "", place.defect)
    raw = payload.metadata.get(NAME_ENCODING, b"")
    encoding = raw.decode("utf-8", "backslashreplace")
    try:
        envelope = parse(payload.metadata, payload.data)
    except MalformedEnvelope as error:
        later = raw != ENCODING and raw.startswith(ENCODING_FAMILY)
        return Verdict(Kind.later_version if later else Kind.malformed, encoding, str(error))
    if envelope is not None:
        return Verdict(Kind.envelope, encoding, envelope=envelope)
    if raw == LEGACY_ENCODING:
        return Verdict(Kind.legacy, encoding)
    name = place.role.value if place.role in (Role.search_attribute, Role.marker) else describe_clear_payload(payload)
    return Verdict(Kind.temporal, encoding, name) if name else Verdict(Kind.clear, encoding)
