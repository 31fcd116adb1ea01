"""What a payload is: an envelope, a malformed one, or something in clear."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from envelope_codec.cli.payloads.location import Location
from envelope_codec.envelope import ENCODING, ENCODING_FAMILY, NAME_ENCODING, Envelope, parse
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.temporal.payload_walk import Role
from envelope_codec.temporal.proxied_payloads import ENCODING as ENCODING_OF_OTHERS
from envelope_codec.temporal.proxied_payloads import proxied_key_id
from envelope_codec.temporal.system_payloads import describe_clear_payload

LEGACY_ENCODING = ENCODING_OF_OTHERS
"""The encoding that the codec in Temporal's samples gives to what it seals, with one static key. So does its proxy."""


class Kind(str, Enum):
    """The kinds of payloads, by the names that programs read."""

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
        encoding: the payload's encoding; empty where it has none.
        why: the reason, if it is malformed or of a later version; its name, if Temporal writes it in clear; else empty.
        envelope: the envelope, if it is one.
        proxy_key: what Temporal's proxy calls its master key, if the proxy has sealed it; else empty.
    """

    kind: Kind
    encoding: str
    why: str = ""
    envelope: Envelope | None = None
    proxy_key: str = ""


def judge(location: Location) -> Verdict:
    """Decide what the payload at ``location`` is. Nothing is decrypted, and no KMS is asked."""
    payload = location.payload
    if payload is None:
        return Verdict(Kind.malformed, "", location.defect)
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
        return Verdict(Kind.legacy, encoding, proxy_key=proxied_key_id(payload) or "")
    name = (
        location.role.value
        if location.role in (Role.search_attribute, Role.marker)
        else describe_clear_payload(payload)
    )
    return Verdict(Kind.temporal, encoding, name) if name else Verdict(Kind.clear, encoding)
