"""Envelopes as payloads of the SDK: how one is made, what comes out of one, and what is one."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import NAME_DATA_KEY, parse, seal
from envelope_codec.errors import InvalidCiphertext, MalformedEnvelope
from envelope_codec.keys.sealing_key import SealingKey
from envelope_codec.temporal.system_payloads import SYSTEM_MARK, is_exact_reference, is_reference

_PADDING = "encryption-padding"


def seal_payload(payload: Payload, key: SealingKey, content: bytes | None = None) -> Payload:
    """Return an envelope with ``payload`` in it, under ``key``.

    Args:
        payload: what is to be sealed.
        key: seals it.
        content: ``payload`` in bytes, where the caller has them.
    """
    wrapped_data_key, data = seal(payload.SerializeToString() if content is None else content, key.record, key.key)
    template = key.template
    if template is None:
        template = key.template = Payload(metadata=key.record.metadata)
    sealed = Payload()
    sealed.CopyFrom(template)  # a quarter of the time that setting each entry takes
    if wrapped_data_key is not None:
        sealed.metadata[NAME_DATA_KEY] = wrapped_data_key
    sealed.data = data
    return sealed


def parse_inner_payload(data: bytes) -> Payload:
    """Return the payload whose bytes an envelope held, without metadata that only writers or the SDK's core may set.

    Raises:
        InvalidCiphertext: ``data`` is no payload.
    """
    try:
        payload = Payload.FromString(data)
    except DecodeError:
        raise InvalidCiphertext("what was sealed is not a payload", operation="open") from None
    if _PADDING in payload.metadata:
        del payload.metadata[_PADDING]
    if SYSTEM_MARK in payload.metadata:  # the SDK would take a payload with this mark for one that nobody sealed
        del payload.metadata[SYSTEM_MARK]
    return payload


def is_sealed(payload: Payload, *, stored: bool = True) -> bool:
    """Whether ``payload`` is an envelope, or exactly a reference to where one is stored.

    Args:
        payload: anyone's. What it only claims to be does not count.
        stored: whether there is a store, without which a reference is not ours.
    """
    if is_reference(payload):
        return stored and is_exact_reference(payload)
    try:
        return parse(payload.metadata, payload.data) is not None
    except MalformedEnvelope:
        return False
