"""What has to become of a payload that was tampered with, and what a reader of it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from temporalio.api.common.v1 import Payload

from envelope_codec.observe import Event
from envelope_codec.testing import ManualClock
from tests.support.vector_reader import VectorReader
from tests.vectors.tampering import BOUND, RECORD, payload_of
from tests.vectors.vector_files import Vector, load

GOOD = load(lambda vector: vector.expect == "ok")
REFUSED = "refused"


class Harmless(Enum):
    """Why something that was tampered with is not refused, and what comes out then."""

    SAME = "nothing changed"
    """The same bytes: the other envelope had the same value there. The original comes out."""

    UNBOUND = "not bound, ignored"
    """Other metadata and other fields of the outer Payload (SPEC, Sealed payload). The original comes out."""

    OTHER = "another good one"
    """To the byte the envelope that the other value came from. Its own plaintext comes out: it is not bound where a
    payload stands (SPEC, Security notes)."""

    NO_ENVELOPE = "no envelope any more"
    """Neither an envelope's encoding nor a record is left (SPEC, Reading). It passes as it is: ciphertext. With
    ``require_encryption`` it is refused as well."""

    NO_PAYLOAD = "no message any more"
    """protobuf does not parse it, so that no reader ever gets it."""

    NOT_ASKED = "row not needed there"
    """A part of a row that this reader does not ask by (SPEC, Keystore row): the tag, or one recipient where another
    one serves. The original comes out, since a secret that leads to the record's id is the right one."""

    NOT_TAGGED = "not under the tag"
    """Imported recipients, which no writer adopts, or the length before them (SPEC, Keystore row)."""


class Passed(Exception):
    """Something that was tampered with was not refused as it has to be."""


class Quiet:
    """An observer that takes nothing down."""

    def on_event(self, event: Event) -> None:
        pass


def judge(payload: Payload, vector: Vector) -> Harmless | None:
    """Say by the bytes alone why this need not be refused, if it need not, as a tampered form of ``vector``."""
    names = payload.metadata.keys()
    if any(name.startswith("encryption-") and name not in BOUND for name in names):
        return None
    whole = identity_of(payload)
    if whole == _identity(vector.metadata, vector.data):
        return Harmless.SAME if payload == payload_of(vector) else Harmless.UNBOUND
    if whole in _BY_IDENTITY:
        return Harmless.OTHER
    encoding = payload.metadata["encoding"] if "encoding" in names else b""
    if not encoding.startswith(b"binary/envelope-") and RECORD not in names:
        return Harmless.NO_ENVELOPE
    return None


def is_plaintext(read: Payload, vector: Vector) -> bool:
    """Whether that is what ``vector`` seals."""
    expected = vector.payload
    return expected is not None and dict(read.metadata) == expected.metadata and read.data == expected.data


def sealed_as(payload: Payload) -> Vector:
    """The good vector that has all that is bound of ``payload``."""
    return _BY_IDENTITY[identity_of(payload)]


def identity_of(payload: Payload) -> tuple[object, ...]:
    """All that is bound of a payload. A value of metadata that is missing differs from an empty one."""
    return _identity(payload.metadata, payload.data)


def reader_of(*vectors: Vector, **more: Any) -> VectorReader:
    """A reader with fakes, on which nothing waits."""
    return VectorReader(*vectors, spawn=inline, clock=ManualClock(), observer=Quiet(), **more)


def inline(job: Callable[[], None]) -> None:
    """A ``spawn`` without a thread."""
    job()


def _identity(metadata: Mapping[str, bytes], data: bytes) -> tuple[object, ...]:
    return (*(dict(metadata).get(name) for name in BOUND), data)


_BY_IDENTITY = {_identity(vector.metadata, vector.data): vector for vector in GOOD}
