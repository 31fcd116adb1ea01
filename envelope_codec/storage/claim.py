"""The claim on a stored payload. Temporal keeps it, sealed like any payload, in place of that payload."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.errors import InvalidCiphertext, MalformedEnvelope
from envelope_codec.store import LARGEST, is_id
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope

_FIELD = "envelope"
_ENCODING = b"json/envelope-codec-claim"
_LONGEST_TEXT = 65_536  # characters of a sealed claim
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Claim:
    """A claim on stored bytes: under which id they are, and how to tell that they are unchanged.

    Attributes:
        id: the store keeps the bytes under it. It is random, so that it reveals nothing.
        digest: SHA-256 of the stored bytes, in hex.
        size: number of the stored bytes.
    """

    id: str
    digest: str
    size: int

    @classmethod
    def of(cls, id: str, data: bytes) -> Claim:
        """Make the claim for ``data``."""
        return cls(id, sha256(data).hexdigest(), len(data))

    def check(self, data: bytes) -> None:
        """Raise `InvalidCiphertext` if ``data`` is not what was stored."""
        if len(data) != self.size or not compare_digest(sha256(data).hexdigest(), self.digest):
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="open")

    async def seal(self, codec: EnvelopeCodec) -> dict[str, str]:
        """Return the claim data that Temporal keeps. Neither the id nor the digest is readable in it."""
        content = json.dumps({"id": self.id, "sha256": self.digest, "size": self.size})
        [payload] = await codec.encode([Payload(metadata={"encoding": _ENCODING}, data=content.encode())])
        return {_FIELD: base64.b64encode(payload.SerializeToString()).decode()}

    @classmethod
    async def open(cls, data: Mapping[str, str], codec: EnvelopeCodec) -> Claim:
        """Open claim data that `seal` made.

        Raises:
            MalformedEnvelope: ``data`` is not such claim data.
            EnvelopeError: as `EnvelopeCodec.decode`.
        """
        [payload] = await codec.with_budget(_check_size).decode([parse_envelope(data)])
        try:
            if payload.metadata["encoding"] != _ENCODING:
                raise ValueError
            content = json.loads(payload.data)
            return cls._check_content(content["id"], content["sha256"], content["size"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MalformedEnvelope("what was sealed is not a reference to the datastore") from None

    @classmethod
    def _check_content(cls, id: str, digest: str, size: int) -> Claim:
        """Make a claim of values of any type. Raise ValueError or TypeError if no driver can have written them."""
        if not (is_id(id) and _DIGEST.fullmatch(digest)) or type(size) is not int or not 0 <= size <= LARGEST:
            raise ValueError
        return cls(id, digest, size)


def _check_size(size: int) -> None:
    """Raise `MalformedEnvelope` if a compressed claim yields more bytes than any claim has."""
    if size > _LONGEST_TEXT:
        raise MalformedEnvelope("what was sealed is not a reference to the datastore")


def is_sealed(data: Mapping[str, str]) -> bool:
    """Return whether claim data has the form of a sealed claim of this library."""
    return set(data) == {_FIELD}


def parse_payload(data: Mapping[str, str]) -> Payload:
    """Return the payload in claim data of this library, whether or not it is an envelope.

    Raises:
        MalformedEnvelope: the claim data is of another driver, or damaged.
    """
    text = data.get(_FIELD, "")
    try:
        if not is_sealed(data) or len(text) > _LONGEST_TEXT:
            raise ValueError
        return Payload.FromString(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, DecodeError):
        raise MalformedEnvelope("the reference to the datastore is not one of ours") from None


def parse_envelope(data: Mapping[str, str]) -> Payload:
    """Return the envelope in claim data that `Claim.seal` made. Nothing is opened.

    Raises:
        MalformedEnvelope: there is no envelope in it.
    """
    sealed = parse_payload(data)
    if not is_envelope(sealed):
        raise MalformedEnvelope("the reference to the datastore is not sealed")
    return sealed
