"""A master key whose secrets the targets know, so that inputs can be sealed and ids made right."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from envelope_codec.envelope import commit, parse_record
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.kms import Unwrapped, WrappedSecret

SECRET = sha256(b"of the fuzzer alone").digest()
KEY_ID = "fakekms://fuzz"
MOST_CALLS = 16
"""Unwraps that one envelope costs at most: one for each of its recipients, and as many for those of a row."""


def secret_of(ciphertext: bytes) -> bytes:
    """Return the secret that `KnownKms` unwraps: a ciphertext of 32 bytes is its own, every other has `SECRET`."""
    return ciphertext if len(ciphertext) == 32 else SECRET


def with_right_id(wire: bytes, key_id: bytes) -> bytes:
    """Return a record with the id that its first recipient's secret leads to. As it is if it is no record."""
    try:
        record = parse_record(wire, key_id)
    except MalformedEnvelope:
        return wire
    _, record_id = commit(secret_of(record.recipients[0].ciphertext), record.head)
    return record.head + record_id + wire[len(record.head) + 32 :]


class KnownKms:
    """A `MasterKey` that takes every record for its own, and refuses none.

    Attributes:
        calls: wraps and unwraps so far.
    """

    def __init__(self) -> None:
        self.calls = 0

    key_id = KEY_ID

    def accepts(self, key_id: str) -> bool:
        return True

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        self.calls += 1
        return WrappedSecret(KEY_ID, "1", secret)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        self.calls += 1
        return Unwrapped(secret_of(wrapped.ciphertext), "1")

    def close(self) -> None:
        pass
