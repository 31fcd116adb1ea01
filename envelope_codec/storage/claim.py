"""What Temporal keeps in place of a stored payload: a claim, sealed like any payload."""

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
from envelope_codec.store import is_id
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope

_FIELD = "envelope"
_ENCODING = b"json/envelope-codec-claim"
_LONGEST = 65_536
_LARGEST = 2**31  # bytes, which no protobuf message has
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Claim:
    """Which bytes of a store are meant, and that they are these.

    Attributes:
        id: what the store keeps them under; random, so that it tells nothing.
        digest: SHA-256 of the stored bytes, in hex.
        size: how many they are.
    """

    id: str
    digest: str
    size: int

    @classmethod
    def of(cls, id: str, data: bytes) -> Claim:
        """The claim for ``data``."""
        return cls(id, sha256(data).hexdigest(), len(data))

    def check(self, data: bytes) -> None:
        """Raises `InvalidCiphertext` if ``data`` is not what was stored."""
        if len(data) != self.size or not compare_digest(sha256(data).hexdigest(), self.digest):
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="open")

    async def sealed(self, codec: EnvelopeCodec) -> dict[str, str]:
        """As Temporal keeps it: no id, no digest in clear."""
        content = json.dumps({"id": self.id, "sha256": self.digest, "size": self.size})
        [payload] = await codec.encode([Payload(metadata={"encoding": _ENCODING}, data=content.encode())])
        return {_FIELD: base64.b64encode(payload.SerializeToString()).decode()}

    @staticmethod
    def is_sealed(data: Mapping[str, str]) -> bool:
        """Whether ``data`` has the form of a sealed claim."""
        return set(data) == {_FIELD}

    @classmethod
    def envelope(cls, data: Mapping[str, str]) -> Payload:
        """The envelope that `sealed` made of a claim. Raises `MalformedEnvelope` if it is none."""
        text = data.get(_FIELD, "")
        try:
            if not cls.is_sealed(data) or len(text) > _LONGEST:
                raise ValueError
            sealed = Payload.FromString(base64.b64decode(text, validate=True))
        except (ValueError, binascii.Error, DecodeError):
            raise MalformedEnvelope("the reference to the datastore is not one of ours") from None
        if not is_envelope(sealed):
            raise MalformedEnvelope("the reference to the datastore is not sealed")
        return sealed

    @classmethod
    async def opened(cls, data: Mapping[str, str], codec: EnvelopeCodec) -> Claim:
        """The claim that `sealed` made.

        Raises:
            MalformedEnvelope: it is none.
            EnvelopeError: as `EnvelopeCodec.decode`.
        """
        [payload] = await codec.decode([cls.envelope(data)])
        try:
            if payload.metadata["encoding"] != _ENCODING:
                raise ValueError
            content = json.loads(payload.data)
            claim = cls(content["id"], content["sha256"], content["size"])
            if not (is_id(claim.id) and _DIGEST.fullmatch(claim.digest)) or type(claim.size) is not int:
                raise ValueError
            if not 0 <= claim.size < _LARGEST:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MalformedEnvelope("what was sealed is not a reference to the datastore") from None
        return claim
