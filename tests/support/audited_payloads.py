"""Envelopes under keys of the test's choice, which nobody can open."""

from __future__ import annotations

import os
from hashlib import sha256

from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import MIN_DATA, NAME_DATA_KEY, Purpose, Recipient, Record, build_record, record_head


def record(
    *keys: str, created: int = 1_000, purpose: Purpose = Purpose.WRAPPING_KEY, version: str = "", name: str = ""
) -> Record:
    """Make a record. Records with another ``name`` have another id."""
    head = record_head(purpose, created, {"temporal-namespace": "default"})
    id = sha256(f"{keys}{created}{purpose}{name}".encode()).digest()
    return build_record(head, id, [Recipient(key, version, b"c") for key in keys or ("OLD",)])


def sealed(its: Record) -> Payload:
    """Make an envelope."""
    metadata = dict(its.metadata)
    if its.purpose is not Purpose.DATA_KEY:
        metadata[NAME_DATA_KEY] = bytes(40)
    return Payload(metadata=metadata, data=os.urandom(MIN_DATA))


def under(*keys: str, created: int = 1_000) -> Payload:
    """Make an envelope under these master keys."""
    return sealed(record(*keys, created=created))
